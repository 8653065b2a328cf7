"""What can be known of a CUDA build without a GPU: its symbols, and how its kernels use registers and memory.

    python tools/check_cuda_build.py build/.../_cuda.so

needs nm, and cuobjdump of the package nvidia-cuda-cuobjdump.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

# What a lane may hold, of the 255 that it can have: the largest blocks, of 256 lanes, fit into the 65536 registers of a
# multiprocessor. One that needs more spills.
MOST_REGISTERS = 254
KERNELS = (
    "OnChipSinkhorn",
    "StreamedSinkhorn",
    "FinishSinkhorn",
    "OnChipIpot",
    "StreamedIpot",
    "ExactKernel",
    "Gibbs",
    "DualBound",
    "PointGradient",
)


def tool(name: str) -> str:
    """A program on the path, or of a package of NVIDIA's."""
    packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
    found = shutil.which(name) or next(map(str, packages.glob(f"*/bin/{name}")), None)
    if found is None:
        sys.exit(f"{name} is missing: pip install nvidia-cuda-{name}")
    return found


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def foreign_symbols(library: str) -> list[str]:
    """Symbols of a CUDA runtime or driver that the library takes from others or gives to them."""
    return re.findall(r" [A-Za-z] (_?_?(?:cuda|cu[A-Z])\w*)", output("nm", "-D", library))


def kernels(library: str) -> list[tuple[str, dict[str, int]]]:
    """Each kernel with the registers, and bytes of stack and local memory, of a lane."""
    text = output(tool("cuobjdump"), "--dump-resource-usage", library)
    pairs = re.findall(r"Function (\S+run_kernel\S+):\s*\n\s*(REG:.*)", text)
    return [(name, {k: int(v) for k, v in re.findall(r"(\w+):(\d+)", use)}) for name, use in pairs]


def main(library: str) -> None:
    """Print a table, and fail if something is not as it should be."""
    faults = [f"{symbol} is not the library's own" for symbol in foreign_symbols(library)]
    found = kernels(library)
    for name, use in found:
        kernel = next((k for k in KERNELS if k in name), name)
        tile = re.search(r"TileILi(\d+)ELi(\d+)ELi(\d+)ELi(\d+)", name)
        label = f"{kernel}<{'x'.join(tile.groups())}>" if tile else kernel
        print(
            f"{label:34} {use['REG']:4} registers {use['STACK']:4} B stack {use['LOCAL']:4} B local"
        )
        if use["STACK"] or use["LOCAL"]:
            faults.append(f"{name} spills registers")
        if use["REG"] > MOST_REGISTERS:
            faults.append(f"{name} takes {use['REG']} registers, more than {MOST_REGISTERS}")
    faults += [f"{k} is not in the build" for k in KERNELS if not any(k in n for n, _ in found)]
    print(f"{len(found)} kernels, {Path(library).stat().st_size / 2**20:.1f} MB")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main(sys.argv[1])
