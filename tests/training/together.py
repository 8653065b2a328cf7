"""Runs transfers in several processes that torchrun starts, one transfer after the other.

Usage: together.py FOLDER: `FOLDER/orders.json` holds a list of keyword arguments for `Study`
besides `settings`. The output of the first process is `FOLDER/run`; the others are
given a folder that does not exist. With `nan_in`, a loss
of that process is no number. Each process writes what came of each order, and whether the
folder that it was given exists, to `FOLDER/RANK.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from kantorch.drivers import Transfer, TransferSettings
from kantorch.training import RunError, Study
from kantorch.training.module import PenalizedNetwork


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
        "failed": {trial.name: why for trial, why in results.failed.items()},
    }


def poison():
    """From now on the third loss that this process computes in fine-tuning is no number."""
    real = PenalizedNetwork.checked

    def checked(module, name, term):
        bad = module.trial.startswith("target") and module.global_step == 2
        return real(module, name, term * float("nan") if bad else term)

    PenalizedNetwork.checked = checked


def main():
    base, rank = Path(sys.argv[1]), os.environ["RANK"]
    folder = base / "run" if rank == "0" else base / "elsewhere"
    outcomes = []
    for order in json.loads((base / "orders.json").read_text()):
        order["settings"] |= order.pop(f"only-{rank}", {})
        if str(order.pop("nan_in", None)) == rank:
            poison()
        outcomes.append(outcome(folder, **{k: v for k, v in order.items() if k[:5] != "only-"}))
    found = {"outcomes": outcomes, "folder": folder.exists()}
    (base / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
