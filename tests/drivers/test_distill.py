"""What `distill` compares: a student with its own start, or with none, beside a teacher."""

from __future__ import annotations

import pytest
import torch

from kantorch.drivers import Distill, DistillSettings
from kantorch.drivers.distill import RIVALS
from kantorch.drivers.penalties import METHODS
from kantorch.training import Study, Trial
from kantorch.training.driver import Place
from training.tiny import TINY

SMALL = TINY | {
    "seeds": 1,
    "channels": (2, 2, 4),
    "teacher_channels": (3, 3, 4),
    "grids": {name: {k: v[:1] for k, v in METHODS[name].grid.items()} for name in RIVALS},
}
SMALL = {key: value for key, value in SMALL.items() if key != "methods"}


def small(**changes):
    return DistillSettings.from_mapping(SMALL | changes)


def study(settings, folder):
    driver = Distill(settings)
    return driver, Study(driver, folder, progress=False).run()


def test_a_strong_teacher_is_compared_with_all_rivals(tmp_path):
    driver, results = study(small(), tmp_path / "run")
    assert set(results.chosen) == set(RIVALS)
    for stage in ("teacher", "start"):
        assert (tmp_path / "run" / "trials" / stage / "weights.pt").exists()
    place = Place(tmp_path / "run")
    teacher, start = driver.teacher(place), driver.start(place, Trial("target"))
    assert teacher.channels == (3, 3, 4)
    assert teacher.head.out_features == 5  # of its ten classes those of the target
    assert start.channels == (2, 2, 4)
    assert len(driver.tasks.source(10).train) == 10 * 10
    assert "A teacher, a network with convolutions" in (tmp_path / "run" / "report.md").read_text()


def test_the_teachers_outputs_are_those_of_the_target_classes(tmp_path):
    settings = small(methods=("none",), target_classes=(7, 2))
    driver, _ = study(settings, tmp_path / "run")
    place = Place(tmp_path / "run")
    images = torch.rand(3, 1, 8, 8)
    whole = driver.network("teacher", place)(images)
    torch.testing.assert_close(driver.teacher(place)(images), whole[:, [7, 2]])


def test_a_new_task_leaves_methods_out_that_need_what_is_not_there(tmp_path):
    settings = small(new_task=True, channels=(2, 2, 2))
    driver, results = study(settings, tmp_path / "run")
    absent = set(RIVALS) - set(results.chosen)
    assert absent == {"l2sp", "identity", "kd"}
    assert set(results.chosen) >= {"none", "compressed"}
    (taught,) = [record for trial, record in results.records.items() if trial.stage == "compressed"]
    assert taught["history"][-1]["penalty"] > 0  # of the distillation
    assert not (tmp_path / "run" / "trials" / "start").exists()
    table = driver.table(results).splitlines()
    assert sum(row.count("\N{EN DASH}") > 1 for row in table) == len(absent)
    assert "start" not in driver.learnt()


def test_students_of_a_new_task_start_apart():
    driver = Distill(small(new_task=True))
    first, second = (
        driver.start(Place(None), Trial("target", "none", seed=seed)).block1[0].weight
        for seed in (0, 1)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize(
    ("layers", "same"), [(("pool",), True), (("block3",), True), (("block2", "pool"), False)]
)
def test_widths_are_the_same_where_all_layers_agree(layers, same):
    assert ("same_width" in Distill(small(layers=layers)).facts()) == same


def test_questions_have_settings_of_their_own():
    strong, new = DistillSettings.from_mapping({}), DistillSettings.from_mapping({"new_task": True})
    assert set(strong.target_classes) <= set(strong.source_classes)
    assert not set(new.target_classes) & set(new.source_classes)
    assert DistillSettings.from_mapping({}, "new-task") == new
    assert DistillSettings.from_mapping(strong.to_mapping()) == strong
