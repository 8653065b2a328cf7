"""Studies in processes that die again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from scripts import HANGS


def run_killed(folder, settings, where, counts):
    """Run a study to its end, killed at each of the counts, see killer.py; return the kills."""
    killer = Path(__file__).with_name("killer.py")
    command = [sys.executable, killer, folder, json.dumps(settings), where, *map(str, counts)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=HANGS, check=False)
    assert process.returncode == 0, process.stderr
    return int(process.stdout.split()[-1])
