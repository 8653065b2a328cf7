"""Race everything and turn the saved times into a table, plots and a machine record.

python benchmarks/report.py                    # run all benchmarks, then report
python benchmarks/report.py -k "sinkhorn"      # some of them; arguments go to pytest
python benchmarks/report.py --device cuda      # those of a GPU
python benchmarks/report.py --json saved.json  # report a saved run
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from machine import describe

HERE = Path(__file__).parent


def main() -> int:
    """Run or read, print, draw."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, help="a saved run; none: race now")
    parser.add_argument(
        "--out", type=Path, default=HERE / "results" / "latest", help="where to write"
    )
    options, rest = parser.parse_known_args()
    status = 0
    saved = options.json
    if saved is None:
        import pytest

        saved = Path(tempfile.mkdtemp()) / "benchmark.json"
        arguments = [str(HERE), "-c", str(HERE / "pytest.ini"), "-q", "-rs"]
        status = int(pytest.main([*arguments, f"--benchmark-json={saved}", *rest]))
        if not saved.exists():
            print("no benchmark was run")
            return status or 1
    record = json.loads(saved.read_text())
    rows = [row for entry in record["benchmarks"] for row in contestants(entry)]
    table = render(record["machine_info"], rows)
    if absent := missing(record):
        table += f"\nNot installed: {', '.join(absent)}.\n"
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "table.md").write_text(table)
    draw(rows, options.out / "ratios.png")
    print(table)
    print(f"written to {options.out}")
    return status


def contestants(entry: dict[str, Any]) -> list[dict[str, Any]]:
    """One row for each peer of a benchmark."""
    info = entry["extra_info"]
    ours = entry["stats"]["median"]
    return [
        {
            "work": info["work"],
            "peer": peer,
            "ours": ours,
            "theirs": statistics.median(times),
            "ratio": statistics.median(times) / ours,
            "our_error": info["errors"]["kantorch"],
            "their_error": info["errors"].get(peer),  # a floor has no answer
            "rounds": len(times),
        }
        for peer, times in info["peers"].items()
    ]


def missing(record: dict[str, Any]) -> list[str]:
    """The peers that were not installed."""
    return sorted(
        {name for entry in record["benchmarks"] for name in entry["extra_info"]["absent"]}
    )


def render(machine: dict[str, Any], rows: list[dict[str, Any]]) -> str:
    """The table in Markdown, with the machine above it."""
    lines = [
        describe(machine),
        "",
        (
            "Medians of interleaved rounds in one process; the error is relative to a float64 "
            "reference, or, where a tolerance is the aim, the marginal error."
        ),
        "",
        "| work | kantorch | error | beside | time | error | ratio | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['work']} | {duration(row['ours'])} | {row['our_error']:.0e} | {row['peer']} | "
        f"{duration(row['theirs'])} | {accuracy(row['their_error'])} | **{multiple(row['ratio'])}** | {row['rounds']} |"
        for row in rows
    ]
    return "\n".join(lines) + "\n"


def multiple(ratio: float) -> str:
    """Two or three digits."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2g}" if ratio < 1 else f"{ratio:.3g}"


def accuracy(error: float | None) -> str:
    """One digit, or a dash."""
    return "-" if error is None else f"{error:.0e}"


def duration(seconds: float) -> str:
    """Seconds with a fitting unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3)):
        if seconds * factor >= 1:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e6:.3g} us"


def draw(rows: list[dict[str, Any]], path: Path) -> None:
    """How many times longer each peer takes, as bars on a logarithmic axis."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rows) + 1.2), layout="constrained")
    peers = sorted({row["peer"] for row in rows})
    colours = dict(zip(peers, plt.get_cmap("tab20").colors, strict=False))
    positions = range(len(rows))
    bars = axes.barh(
        positions, [row["ratio"] for row in rows], color=[colours[row["peer"]] for row in rows]
    )
    axes.bar_label(bars, [f"{row['ratio']:.1f}" for row in rows], padding=3, fontsize=8)
    axes.set_yticks(positions, [row["work"] for row in rows], fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.margins(x=0.15, y=0.01)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xlabel("time of the peer / time of kantorch")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colours[peer]) for peer in peers]
    figure.legend(handles, peers, fontsize=8, loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    sys.exit(main())
