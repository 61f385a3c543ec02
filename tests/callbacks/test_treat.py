"""What a control trains: the ticket of a search, or of a file, changed in one respect."""

from pathlib import Path

import pytest
import torch

from lth.storage.checkpoint import load_checkpoint
from lth.tickets import Ticket
from tests.support.harness import names, train

pytestmark = pytest.mark.slow

SEARCH = "method=gem_miner", "method.period=1", "sparsity.density=0.3"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Returns a function that gives the folder of a search and fine-tuning with a treatment; each is trained once."""
    folders: dict[str, Path] = {}

    def of(treatment: str, *overrides: str) -> Path:
        key = " ".join([treatment, *overrides])
        if key not in folders:
            folders[key] = tmp_path_factory.mktemp("treated")
            train(folders[key], *SEARCH, f"treatment={treatment}", *overrides)
        return folders[key]

    return of


def tuned(folder: Path) -> Ticket:
    return Ticket.load(folder / "level_01_finetune" / "ticket.safetensors")


def counts(ticket: Ticket) -> list[int]:
    return [int(mask.sum()) for mask in ticket.masks.values()]


NETWORK = "model.batch_norm=true", "model.affine=false", "model.bias=false"  # Gem-Miner's default


@pytest.mark.parametrize("restore", ["true", "false"])
@pytest.mark.parametrize("treatment", names("treatment"))
def test_a_treatment_acts_on_the_found_ticket_before_fine_tuning(treatment: str, restore: str, trained):
    folder = trained(treatment, f"method.restore={restore}")
    found = Ticket.load(folder / "level_00_search" / "ticket.safetensors")
    plain, treated = tuned(trained("none", f"method.restore={restore}")), tuned(folder)
    assert counts(found) == counts(plain)
    assert sum(counts(treated)) == sum(counts(found))
    if treatment != "random":
        assert counts(treated) == counts(found)  # the final binary mask is treated, whatever `restore` says
    same_masks = all(torch.equal(treated.masks[n], mask) for n, mask in found.masks.items())
    same_weights = all(torch.equal(treated.weights[n], found.weights[n]) for n in found.masks)
    assert same_masks == (treatment in ("none", "reinit"))
    assert same_weights == (treatment != "reinit")


def test_inverted_scores_keep_the_weights_the_search_liked_least(trained):
    folder = trained("invert", "method.restore=true")
    found = load_checkpoint(folder / "level_00_search" / "last.ckpt")
    masks = tuned(folder).masks
    for index, mask in enumerate(masks.values()):
        score = found["state_dict"][f"scores.{index}"]
        assert score[mask].max() <= score[~mask].min()


def test_another_distribution_may_be_drawn_under_the_same_masks(trained):
    folder = trained(
        "reinit", "treatment.rule={_target_:lth.pruning.initial_weights.distributions.uniform,_partial_:true}"
    )
    found = Ticket.load(folder / "level_00_search" / "ticket.safetensors")
    for name, mask in tuned(folder).masks.items():
        assert torch.equal(mask, found.masks[name])
        weight = tuned(folder).weights[name]
        density = mask.float().mean().item()
        assert weight.abs().max().item() <= (6 / (weight[0].numel() * density)) ** 0.5 * 1.0001


def test_retrain_takes_the_tickets_masks_and_weights_and_treats_them(trained, tmp_path: Path):
    found = trained("none") / "level_01_finetune" / "ticket.safetensors"
    given = Ticket.load(found)
    for treatment in ("none", "shuffle_layers", "reinit"):
        folder = tmp_path / treatment
        train(folder, "method=retrain", f"ticket={found}", f"treatment={treatment}", "seed=1", *NETWORK)
        (level,) = folder.glob("level_*")
        own = Ticket.load(level / "ticket.safetensors")
        assert counts(own) == counts(given)
        same_masks = all(torch.equal(own.masks[n], mask) for n, mask in given.masks.items())
        same_weights = all(torch.equal(own.weights[n], value) for n, value in given.weights.items())
        assert (same_masks, same_weights) == (treatment != "shuffle_layers", treatment != "reinit")
        trained_ = load_checkpoint(level / "last.ckpt")["state_dict"]
        assert all((trained_[f"net.{n}"][~mask] == 0).all() for n, mask in own.masks.items())
    with pytest.raises(ValueError, match=r"has model.bias=false model.affine=false model.batch_norm=true"):
        train(tmp_path / "other", "method=retrain", f"ticket={found}")


def test_a_ladder_starts_in_a_ticket_and_stays_there(trained, tmp_path: Path):
    found = trained("none") / "level_01_finetune" / "ticket.safetensors"
    ladder = "sparsity=list", "sparsity.densities=[0.2,0.1]"
    train(tmp_path, "method=imp", "support=ticket", f"ticket={found}", *ladder)
    levels = [Ticket.load(path) for path in sorted(tmp_path.glob("level_*/ticket.safetensors"))]
    given = Ticket.load(found)
    assert all(torch.equal(levels[0].masks[n], mask) for n, mask in given.masks.items())
    assert [round(ticket.density, 2) for ticket in levels] == [round(given.density, 2), 0.2, 0.1]
    for ticket in levels[1:]:
        assert all((ticket.masks[n] <= mask).all() for n, mask in given.masks.items())


@pytest.mark.parametrize("method", ["method=retrain", "support=ticket"])
def test_a_ticket_that_is_not_given_is_asked_for(method: str, tmp_path: Path):
    with pytest.raises(ValueError, match="ticket=PATH"):
        train(tmp_path, method)
