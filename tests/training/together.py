"""Runs transfers in several processes that torchrun starts, one transfer after the other.

Usage: together.py FOLDER: `FOLDER/orders.json` holds a list of keyword arguments for `Study`
besides `settings`. The output of the first process is `FOLDER/run`; the others are
given a folder that does not exist. Each process writes what came of each order, and whether the
folder that it was given exists, to `FOLDER/RANK.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kantorch.drivers import Transfer, TransferSettings
from kantorch.training import RunError, Study


def outcome(folder, settings, **arguments):
    try:
        driver = Transfer(TransferSettings.from_mapping(settings))
        results = Study(driver, folder, progress=False, **arguments).run()
    except RunError as error:
        return {"error": str(error)}
    return {
        "chosen": results.chosen,
        "test": {trial.name: accuracy for trial, accuracy in results.test.items()},
        "records": list(results.records.values()),
    }


def main():
    base, rank = Path(sys.argv[1]), os.environ["RANK"]
    folder = base / "run" if rank == "0" else base / "elsewhere"
    outcomes = []
    for order in json.loads((base / "orders.json").read_text()):
        order["settings"] |= order.pop(f"only-{rank}", {})
        outcomes.append(outcome(folder, **{k: v for k, v in order.items() if k[:5] != "only-"}))
    found = {"outcomes": outcomes, "folder": folder.exists()}
    (base / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
