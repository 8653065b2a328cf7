"""The page about studies: its driver runs, and it names every preset and fact."""

from __future__ import annotations

import re
from pathlib import Path

from kantorch.drivers import (
    AdversarialSettings,
    DistillSettings,
    JointSettings,
    TransferSettings,
    W1Settings,
)
from kantorch.drivers.penalties import METHODS

PAGE = (Path(__file__).parents[2] / "docs" / "studies.md").read_text(encoding="utf-8")


def test_its_driver_runs():
    (code,) = [
        block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "Study" in block
    ]
    exec(compile(code, "studies.md", "exec"), {"__name__": "page"})  # noqa: S102


def test_it_names_every_preset_and_every_need():
    kinds = AdversarialSettings, TransferSettings, DistillSettings, JointSettings, W1Settings
    for settings in kinds:
        for preset in settings.presets:
            assert f"`{preset}`" in PAGE
    for name in METHODS.names:
        for need in METHODS[name].needs:
            assert f"`{need}`" in PAGE
