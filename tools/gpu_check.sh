#!/usr/bin/env bash
# Everything that needs a GPU, in at most ten minutes: the suite, then compute-sanitizer's tools on small cases, then
# times. What was found is written to docs/gpu/, to be committed: README says only what stands there.
#
#   bash tools/gpu_check.sh          from a checkout, on a machine with a GPU, nvcc and torch
set -uo pipefail
cd "$(dirname "$0")/.."

gpu=$(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -1) || { echo "no GPU is seen" >&2; exit 1; }
out=docs/gpu/$(printf '%s' "$gpu" | tr -cs 'A-Za-z0-9.\n' '-').txt
mkdir -p docs/gpu
: > "$out"
failed=0

step() { # name seconds command...
  local name=$1 limit=$2
  shift 2
  printf '\n== %s\n' "$name" | tee -a "$out"
  timeout "$limit" "$@" 2>&1 | tail -25 | tee -a "$out"
  local rc=${PIPESTATUS[0]}
  [ "$rc" = 0 ] || { printf 'FAILED (%s)\n' "$rc" | tee -a "$out"; failed=1; }
}

{
  date -u +%F
  echo "$gpu"
  git describe --always --dirty
  nvcc --version | tail -2
} | tee -a "$out"

step "build" 300 pip install -q ".[test,bench]" -C cmake.define.KANTORCH_CUDA=AUTO
step "kantorch info" 30 kantorch info
step "suite on the GPU" 150 python -m pytest -q -m cuda tests
for tool in memcheck racecheck synccheck initcheck; do
  step "compute-sanitizer $tool" 60 compute-sanitizer --tool "$tool" --error-exitcode 9 python tools/gpu_small_cases.py
done
step "times" 120 python benchmarks/report.py --device cuda --out "${out%.txt}"
printf '\n%s: %s\n' "$([ "$failed" = 0 ] && echo passed || echo FAILED)" "$out" | tee -a "$out"
exit "$failed"
