"""What can be known of a CUDA build without a GPU: its symbols, and how its kernels use registers and memory.

    python tools/check_cuda_build.py build/.../_cuda.so

needs nm, and cuobjdump and nvdisasm of the packages nvidia-cuda-cuobjdump and nvidia-cuda-nvdisasm.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import sass

# What a lane can have: the largest blocks, of 256 lanes, then fit into the 65536 registers of a multiprocessor. Streamed
# kernels need more, and spill the rest around their loops, but not in them; the end of IPOT a few numbers around a long step.
MOST_REGISTERS = 255
SPILLING = ("Streamed", "FinishIpot")
# What an entry of a kernel or cost takes in the inner loops, in instructions for a multiply-add, an exponential or an entry.
# On chip there are two multiply-adds an entry and iteration; in the streamed kernels an entry, or where rows are not held two
# exponentials.
MOST_PER_PRODUCT = {
    "OnChipSinkhornIfNS0_4TileILi2ELi8ELi4ELi16E": 2.3,
    "OnChipSinkhornIfNS0_4TileILi4ELi8ELi4ELi32E": 2.2,
    "OnChipSinkhornIdNS0_4TileILi4ELi8ELi4ELi16E": 3.7,
}
MOST_PER_EXPONENTIAL = {"StreamedSinkhornIfE": 55.0, "StreamedIpotIfE": 55.0}
MOST_PER_HELD_ENTRY = {"StreamedSinkhornIfE": 14.0, "StreamedIpotIfE": 14.0}
KERNELS = (
    "OnChipSinkhorn",
    "StreamedSinkhorn",
    "FinishSinkhorn",
    "FinishIpot",
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


def code(library: str, names: list[str]) -> dict[str, sass.Code]:
    """The instructions of some functions."""
    path = f"{Path(tool('nvdisasm')).parent}:{os.environ['PATH']}"  # where cuobjdump looks for it
    command = [tool("cuobjdump"), "-sass", "-fun", ",".join(names), library]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, env={**os.environ, "PATH": path}
    )
    return dict(sass.functions(done.stdout))


def costs_of_entries(library: str, names: list[str]) -> Iterator[str]:
    """Print what entries take in the inner loops, and say where it is too much."""
    limits = [
        ("multiply-add", sass.per_product, MOST_PER_PRODUCT),
        ("exponential", sass.per_exponential, MOST_PER_EXPONENTIAL),
        ("held entry", sass.per_held_entry, MOST_PER_HELD_ENTRY),
    ]
    chosen = [n for n in names if any(kernel in n for _, _, most in limits for kernel in most)]
    programs = code(library, chosen)
    for name, program in programs.items():
        if found := sass.local_accesses(program):
            yield f"{name} goes to local memory {found} times in loops over entries"
    for what, cost, most in limits:
        for kernel, limit in most.items():
            for name in [n for n in programs if kernel in n]:
                found = cost(programs[name])
                print(f"{kernel:44} {found or 0:5.1f} instructions for each {what}")
                if found is None or found > limit:
                    yield f"{name} takes {found} instructions for each {what}, more than {limit}"


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
        if (use["STACK"] or use["LOCAL"]) and not any(kernel in name for kernel in SPILLING):
            faults.append(f"{name} spills registers")
        if use["REG"] > MOST_REGISTERS:
            faults.append(f"{name} takes {use['REG']} registers, more than {MOST_REGISTERS}")
    faults += [f"{k} is not in the build" for k in KERNELS if not any(k in n for n, _ in found)]
    faults += costs_of_entries(library, [name for name, _ in found])
    print(f"{len(found)} kernels, {Path(library).stat().st_size / 2**20:.1f} MB")
    if faults:
        sys.exit("\n".join(faults))


if __name__ == "__main__":
    main(sys.argv[1])
