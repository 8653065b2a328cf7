"""Runs a study in child processes that kill themselves, until one of them ends well.

Usage: killer.py FOLDER SETTINGS_JSON sync|step COUNTS... A child dies at its COUNT-th fsync (in the
middle of writing a file) or training step; when the counts are used up, it may finish. Children are
forked from one process that has done nothing but imports. Prints how many were killed.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path

from kantorch.drivers import Adversarial, Joint, Transfer
from kantorch.training import Study
from kantorch.training.module import PenalizedNetwork


def die_at(count, function):
    calls = itertools.count(1)

    def wrapped(*arguments, **named):
        if next(calls) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*arguments, **named)

    return wrapped


def child(folder, settings, where, count):
    if count is not None and where == "sync":
        os.fsync = die_at(count, os.fsync)
    elif count is not None:
        PenalizedNetwork.total = die_at(count, PenalizedNetwork.total)
    kind = {"adversarial": Adversarial, "transfer": Transfer, "joint": Joint}[
        settings.get("driver", "transfer")
    ]
    driver = kind(kind.settings_type.from_mapping(settings))
    Study(driver, folder, progress=False).run()


def main():
    folder, settings, where = Path(sys.argv[1]), json.loads(sys.argv[2]), sys.argv[3]
    kills = 0
    for count in [*map(int, sys.argv[4:]), None]:
        process = os.fork()
        if process == 0:
            child(folder, settings, where, count)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        if status == 0:
            break
        if status != -signal.SIGKILL:
            sys.exit(f"a child ended with status {status}")
        kills += 1
    sys.stdout.write(f"{kills}\n")


if __name__ == "__main__":
    main()
