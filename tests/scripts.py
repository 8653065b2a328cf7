"""Runs code in a fresh interpreter, where a hang or a crash costs one test and not the session."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

# What a shell starts in the background inherits an ignored Ctrl-C, and Python then installs no handler.
LISTEN = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"


# Seconds after which a script is taken to hang: far more than any of them needs on a busy machine.
HANGS = 600


def run_script(code: str, **environment: str) -> str:
    """The standard output of `code`; an error if it fails or hangs."""
    path = [str(Path(__file__).parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    process = subprocess.run(
        [sys.executable, "-c", LISTEN + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=HANGS,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path), **environment},
    )
    if process.returncode:
        msg = f"exit status {process.returncode}\n{process.stdout}\n{process.stderr}"
        raise AssertionError(msg)
    return process.stdout
