"""Printing for terminals of every encoding."""

from __future__ import annotations

import sys


def show(text: str) -> None:
    """Print what the terminal's encoding can show; other characters must not end a finished run."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.replace("± ", "+-")  # as wide, so that tables stay straight
        text = text.replace("\N{EN DASH}", "-")
        text = text.encode(encoding, "backslashreplace").decode(encoding)
    print(text)  # noqa: T201 - what it is for
