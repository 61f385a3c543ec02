"""`make test` kills, resumes and distributes one method of each kind, and trains every method."""

from pathlib import Path

import pytest

from tests.support.harness import names, train, usual
from tests.support.kinds import REPRESENTATIVES, classes, kind, kinds
from tests.support.left import rows


@pytest.mark.slow
def test_each_kind_of_method_has_one_representative():
    assert set(REPRESENTATIVES) <= set(names("method"))
    for methods in kinds().values():
        chosen = set(methods) & set(REPRESENTATIVES)
        assert len(chosen) == 1, f"tests/support/kinds.py: REPRESENTATIVES needs one of {methods}, and has {chosen}"


@pytest.mark.slow
def test_kinds_differ_in_a_class_or_a_switch_and_not_in_a_number_or_a_function():
    assert kind("imp") == kind("omp") != kind("wr")  # densities; the step that weights go back to
    assert kind("snip") == kind("erk") != kind("retrain")  # a criterion, an allocation; a callback more
    assert kind("rigl") != kind("set") != kind("snfs")  # orders of updates; memories of gradients


def test_classes_of_a_configuration_are_found_wherever_they_are():
    prune = {"_target_": "lth.callbacks.Prune", "exact": True, "seed": 3, "criterion": {"_target_": "lth.plan.single"}}
    module = {"_target_": "lth.modules.KeptWeights", "seed": 1}
    stages = {"train": {"module": module, "callbacks": [None, prune]}}
    found = list(classes({"plan": {"_target_": "lth.plan.single", "rewind": None}, "stages": stages}))
    assert found == ["single rewind=None", "KeptWeights seed=number", "Prune exact=True seed=number"]


@pytest.mark.slow
@pytest.mark.parametrize("method", sorted(set(names("method")) - set(REPRESENTATIVES)))
def test_a_method_that_represents_no_kind_trains(method: str, tmp_path: Path):
    """The representatives train in test_resume.py."""
    train(tmp_path / "run", *usual(method, tmp_path))
    assert all(float(row["test_accuracy"]) >= 0 for row in rows(tmp_path / "run"))
