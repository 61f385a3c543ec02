"""Runs from a ticket that was copied without the file of its run's starting weights: what trains, what is refused."""

import shutil
from pathlib import Path

import pytest

from lth.pruning.masks import fingerprint
from lth.storage.checkpoint import load_checkpoint
from lth.tickets import Ticket
from tests.experiment.test_finished_levels import RUNS, checkpoints, tickets
from tests.support.harness import train
from tests.support.left import rows

pytestmark = pytest.mark.slow


def lonely(folder: Path, tmp_path: Path) -> Path:
    """A copy of a run's last ticket, without the file of its starting weights."""
    copy = tmp_path / "copied" / "here" / "ticket.safetensors"
    copy.parent.mkdir(parents=True)
    shutil.copy(tickets(folder)[-1], copy)
    assert not Ticket.load(copy).complete
    return copy


def test_a_copied_ticket_trains_to_the_same_bits(tmp_path: Path):
    train(tmp_path / "run", *RUNS["imp"])
    copy = lonely(tmp_path / "run", tmp_path)
    for name, path in (("whole", tickets(tmp_path / "run")[-1]), ("copy", copy)):
        train(tmp_path / name, "method=retrain", f"ticket={path}")
    assert rows(tmp_path / "copy") == rows(tmp_path / "whole")
    ends = [load_checkpoint(checkpoints(tmp_path / name)[0]) for name in ("copy", "whole")]
    masked = [fingerprint({n: w.abs() for n, w in end["state_dict"].items()}) for end in ends]  # -0.0 is 0.0
    assert masked[0] == masked[1]
    assert Ticket.load(tickets(tmp_path / "copy")[0]).missing  # the new run's ticket is marked as incomplete
    train(tmp_path / "reinit", "method=retrain", f"ticket={copy}", "treatment=reinit")
    assert Ticket.load(tickets(tmp_path / "reinit")[0]).complete


@pytest.mark.parametrize(
    "overrides",
    [
        ["method=retrain", "treatment=shuffle_layers"],
        ["method=retrain", "treatment=random"],
        ["method=retrain", "support=none"],
        ["method=snip", "method/weights=from_ticket", "sparsity.density=0.3"],
        ["method=rigl", "method/weights=from_ticket", "sparsity.density=0.3"],
    ],
    ids=" ".join,
)
def test_what_needs_weights_at_pruned_places_refuses_an_incomplete_ticket(overrides: list[str], tmp_path: Path):
    train(tmp_path / "run", *RUNS["imp"])
    copy = lonely(tmp_path / "run", tmp_path)
    with pytest.raises(ValueError, match=r"^[^\n]*starting_weights_\w+\.safetensors[^\n]*--complete[^\n]*$"):
        train(tmp_path / "again", *overrides, f"ticket={copy}")


def test_all_tickets_of_a_run_from_an_incomplete_ticket_are_incomplete(tmp_path: Path):
    train(tmp_path / "run", *RUNS["imp"])
    copy = lonely(tmp_path / "run", tmp_path)
    overrides = ["method=imp", "support=ticket", "sparsity=list", "sparsity.densities=[0.1]"]
    # +method.stages...: IMP that begins with the ticket's weights
    draw = "+method.stages.train.callbacks.draw={_target_: lth.callbacks.DrawWeights, _partial_: true, rule: "
    draw += f"{{_target_: lth.tickets.start.weights_of, _partial_: true, path: '{copy}'}}}}"
    train(tmp_path / "again", *overrides, f"ticket={copy}", draw)
    assert [bool(Ticket.load(path).missing) for path in tickets(tmp_path / "again")] == [True, True]
