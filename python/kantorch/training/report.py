"""What a study leaves to read: the metrics, the results, the report and the pictures."""

from __future__ import annotations

import io
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch

from kantorch.config import show_config
from kantorch.training._yaml import dump_yaml
from kantorch.training.files import write_atomic

if TYPE_CHECKING:
    from pathlib import Path

    from kantorch.training._matplotlib import Figure
    from kantorch.training.driver import Driver
    from kantorch.training.results import Results


def write_report(driver: Driver[Any], results: Results, folder: Path) -> None:
    """Write metrics.csv, results.csv, differences.csv, the pictures and report.md."""
    write_table(folder / "metrics.csv", _metrics(results))
    if results.chosen:
        write_table(folder / "results.csv", results.frame())
        write_table(folder / "differences.csv", results.differences())
    for name, table in driver.tables(results).items():
        write_table(folder / name, table)
    for name, figure in driver.draw(results).items():
        write_atomic(folder / name, png(figure))
    text = _report(driver, results)
    write_atomic(folder / "report.md", text.encode(errors="backslashreplace"))


def write_table(path: Path, table: pd.DataFrame) -> None:
    """Write a table atomically, as CSV."""
    write_atomic(path, table.to_csv(index=False, lineterminator="\n").encode())


def png(figure: Figure) -> bytes:
    """The picture of a figure."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def _metrics(results: Results) -> pd.DataFrame:
    """One row per trial and round."""
    return pd.DataFrame(
        [
            {"stage": trial.stage, "method": trial.method}
            | dict(trial.params)
            | {"seed": trial.seed}
            | row
            for trial, record in results.records.items()
            for row in record.get("history", ())
        ]
    )


def _report(driver: Driver[Any], results: Results) -> str:
    settings = driver.settings
    build = show_config()
    seconds = sum(record["seconds"] for record in results.records.values())
    versions = ", ".join(
        f"{name} {metadata.version(name)}"
        for name in ("torch", "lightning", "torchmetrics", "scikit-learn", "numpy")
    )
    return f"""{driver.report(results).rstrip()}
{_failures(results)}{_differences(results)}
## Machine

{platform.machine()}, {platform.system()}, {os.cpu_count()} cores, {settings.num_threads} thread(s),
{_accelerator(settings.accelerator)}; Python {platform.python_version()};
kantorch {build["version"]} ({build["simd"]}), {versions}.
The trials took {seconds:.0f} s, without what was lost to interruptions.

## Settings

```yaml
{dump_yaml(settings.to_mapping()).rstrip()}
```
"""


def _failures(results: Results) -> str:
    if not results.failed:
        return ""
    listed = "\n".join(f"- `{trial.name}`: {why}" for trial, why in results.failed.items())
    lost = "".join(f"\n{text}" for text in _lost(results))
    return f"""
## Trials that failed

{len(results.failed)} of {len(results.failed) + len(results.records)} trials diverged. They have no
numbers, and the points of grids that they stand for were not chosen.{lost}

{listed}
"""


def _lost(results: Results) -> list[str]:
    """Methods of the compared stage that failures have left without a choice, in words."""
    found = []
    for method, title in results.titles.items():
        failed = [trial for trial in results.failed if trial.method == method]
        scored = [trial for trial in results.scores if trial.method == method]
        if failed and not scored:
            found.append(f"Every trial of {title} failed.")
        elif failed and results.scores and method not in results.chosen:
            found.append(f"Every point of the grid of {title} has a trial that failed.")
    return found


def _differences(results: Results) -> str:
    if len(results.chosen) < 2:
        return ""
    return f"""
## Differences

Test, in percentage points: the row's method minus the column's, paired by seed, with Student's
interval of 95 %; {len(results.seeds)} seeds.

{results.difference_table()}
"""


def _accelerator(choice: str) -> str:
    if choice != "cpu" and torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"accelerator {choice!r}, no CUDA device" if choice != "cpu" else "CPU only"
