"""`lth run method=X` on the default data: every method builds, or the error names the command that makes its ticket."""

from pathlib import Path

import pytest

from lth.experiment.build import Experiment
from lth.storage.folder import RunFolder
from tests.support.harness import a_ticket, configuration, names

CPU = "trainer=cpu"


def composed(tmp_path: Path, *overrides: str):
    return configuration(tmp_path / "run", *overrides, CPU, small=False)


TAKE_A_TICKET = {"er_imp", "retrain"}


@pytest.mark.slow
@pytest.mark.parametrize("method", names("method"))
def test_a_method_is_ready_as_it_is_named_or_names_the_command_that_makes_its_ticket(method: str, tmp_path: Path):
    cfg = composed(tmp_path, f"method={method}")
    if method in TAKE_A_TICKET:
        with pytest.raises(ValueError, match=r"ticket=PATH .* `lth run method=imp`"):
            Experiment(cfg, RunFolder(tmp_path / "run"))
        cfg = composed(tmp_path, f"method={method}", f"ticket={a_ticket(tmp_path / 'given.safetensors', cfg)}")
    Experiment(cfg, RunFolder(tmp_path / "run"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("gem_miner", {"batch_norm": True, "affine": False, "bias": False, "init": "signed_constant"}),
        ("er_edge_popup", {"bias": True, "init": "kaiming_normal"}),
        ("slimming", {"batch_norm": True, "bias": True}),
        ("imp", {"batch_norm": False, "bias": True, "init": "kaiming_normal"}),
    ],
)
def test_a_method_brings_what_it_needs_of_the_network_as_its_default(method: str, expected: dict, tmp_path: Path):
    model = composed(tmp_path, f"method={method}").model
    assert {key: model[key] for key in expected} == expected


def test_a_value_that_is_given_goes_before_what_the_method_needs(tmp_path: Path):
    assert composed(tmp_path, "method=gem_miner", "model.batch_norm=false").model.batch_norm is False
