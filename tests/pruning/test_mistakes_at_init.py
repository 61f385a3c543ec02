"""Mistakes in pruning before training end in one clear message, and nothing is trained."""

import json
from pathlib import Path

import pytest
import torch
from hydra.errors import InstantiationException

from lth.callbacks import Prune
from lth.networks import mlp
from lth.plan import Budget, Level
from lth.pruning import Masks, criteria
from lth.tickets import Ticket
from tests.support.harness import a_ticket, configuration, train
from tests.support.left import rows

pytestmark = pytest.mark.slow

AT_INIT = ("method=at_init", "sparsity.density=0.3")


def refused(tmp_path, match: str, *overrides: str) -> None:
    """The run stops with a ValueError, as it is or from within Hydra's instantiate, before its first epoch."""
    with pytest.raises((ValueError, InstantiationException), match=match) as caught:
        train(tmp_path / "run", *overrides)
    assert ValueError in (caught.type, type(caught.value.__cause__))
    trained = [p for p in (tmp_path / "run").rglob("*") if p.name in ("results.csv", "last.ckpt", "ticket.safetensors")]
    assert not trained


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method=smart_ratio", "sparsity.density=0.005"], "density 0.005 is at or below the classifier's 0.3"),
        (
            ["method=balanced", "sparsity.density=0.5", "method.allocation.as_published=clip"],
            "the allocation kept .* weights at density 0.5, not ",
        ),
        (["method=erk", "sparsity.density=0.3", "method.allocation.as_published=clp"], "'clp' is not one of"),
        (["method=pyramid", "sparsity.density=0.3", "method.allocation.order=size"], "'size' is not one of"),
        ([*AT_INIT, "method.dense=[hidden.0]"], "leaves -.* beside the fixed layers"),
        ([*AT_INIT, "method.dense=[fc]"], "pattern 'fc' matches none of the layers"),
        ([*AT_INIT, "method/allocation=uniform_plus", "sparsity.density=0.03"], "leaves -.* beside the fixed layers"),
        (["method=at_init", "sparsity.density=30"], r"density 30 must be a fraction.*did you mean 0.3\?"),
        (["method=at_init", "sparsity.density=1e-5"], "keeps none of the"),
        ([*AT_INIT, "support=smart_ratio", "support.density=0.005"], "density 0.005 is at or below the classifier's"),
        ([*AT_INIT, "support=erk", "support.density=0.2"], "density 0.3 is above the ladder's start 0.2"),
        ([*AT_INIT, "support.density=0.2"], "support.density=0.2 needs a support"),
    ],
)
def test_an_allocation_that_cannot_reach_its_density_is_refused(overrides, message, tmp_path):
    refused(tmp_path, message, *overrides)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["method.criterion.n_batches=2"], "give one of n_batches=2 and samples_per_class=10"),
        (["method.criterion.samples_per_class=null"], "give one of n_batches=None and samples_per_class=None"),
        (["method.criterion.samples_per_class=1000"], "1000"),
        (["method.criterion.bn=off"], "is not one of"),
        (["method/criterion=synflow", "method.criterion.dtype=float16"], "'float16' is not one of"),
        (["method/criterion=synflow", "method.criterion.bn=batch"], "'batch' is not one of"),
        (["method.rounds=0"], "rounds 0 must be 1 or more"),
    ],
)
def test_a_criterion_without_what_it_needs_is_refused(overrides, message, tmp_path):
    refused(tmp_path, message, "method=snip", "sparsity.density=0.3", *overrides)


def other_ticket(path, widths=(24, 16), exclude=()):
    """A ticket of a network with other layers or masks."""
    net = mlp(classes=4, channels=1, image_size=8, widths=widths)
    Ticket(Masks.ones(net, exclude=exclude).bools(), net.state_dict()).save(path)
    return path


@pytest.mark.parametrize("user", [("method=er_imp", "sparsity.density=0.3"), ("support=from_ticket", *AT_INIT)])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"widths": [24, 16, 16]}, r"unknown \['hidden.2.weight'\]"),
        ({"exclude": ["hidden.1"]}, r"missing \['hidden.1.weight'\]"),
        ({"widths": [24, 12]}, r"does not fit the network: other shapes at \['hidden.1.weight', 'classifier.weight'\]"),
    ],
)
def test_a_ticket_whose_names_or_shapes_do_not_fit_is_refused(options, message, user, tmp_path):
    path = other_ticket(tmp_path / "other.safetensors", **options)
    refused(tmp_path, message, *user, f"ticket={path}")


SMART_RATIO_OF_TICKET = "method=smart_ratio", "method/allocation=smart_ratio_of_ticket", "sparsity.density=0.3"


def test_smart_ratio_takes_only_the_ends_of_a_ticket(tmp_path):
    given = Ticket.load(a_ticket(tmp_path / "given.safetensors", configuration(tmp_path)))
    backwards = Ticket(dict(reversed(list(given.masks.items()))), given.weights)
    backwards.save(tmp_path / "backwards.safetensors")
    path = f"ticket={tmp_path / 'backwards.safetensors'}"
    train(tmp_path / "plain", "method=smart_ratio", "sparsity.density=0.3")
    train(tmp_path / "ends", *SMART_RATIO_OF_TICKET, path, "method.exact=false")
    plain, ends = (
        {n: int(m.sum()) for n, m in Ticket.load(next((tmp_path / run).glob("level_*/*.safetensors"))).masks.items()}
        for run in ("plain", "ends")
    )
    first, *middle, head = plain
    assert all(ends[name] == int(given.masks[name].sum()) != plain[name] for name in (first, head))
    assert all(ends[name] == plain[name] for name in middle)
    refused(tmp_path, "the allocation kept .* weights at density 0.3, not", *SMART_RATIO_OF_TICKET, path)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"exclude": ["@first"]}, r"it has no \['hidden.0.weight'\]"), ({"widths": [24, 12]}, "other shapes at")],
)
def test_a_ticket_without_the_ends_is_refused(options, message, tmp_path):
    path = f"ticket={other_ticket(tmp_path / 'other.safetensors', **options)}"
    refused(tmp_path, message, *SMART_RATIO_OF_TICKET, path, "method.exact=false")
    refused(tmp_path, "give ticket=PATH", *SMART_RATIO_OF_TICKET)


def test_a_ticket_that_is_not_given_or_not_there_is_refused(tmp_path):
    refused(tmp_path, "give ticket=PATH", "method=er_imp", "sparsity.density=0.3")
    with pytest.raises(FileNotFoundError, match="no ticket at"):
        train(tmp_path / "other", "method=er_imp", "sparsity.density=0.3", f"ticket={tmp_path / 'none.safetensors'}")


def test_a_ticket_gives_its_layer_densities_by_name_whatever_the_order(tmp_path):
    cfg = configuration(tmp_path)
    given = Ticket.load(a_ticket(tmp_path / "given.safetensors", cfg))
    backwards = Ticket(dict(reversed(list(given.masks.items()))), given.weights)
    backwards.save(tmp_path / "backwards.safetensors")
    for name in ("given", "backwards"):
        path = tmp_path / f"{name}.safetensors"
        train(tmp_path / name, "method=er_imp", f"ticket={path}", f"sparsity.density={given.density}")
        (ticket,) = (tmp_path / name).glob("level_*/ticket.safetensors")
        made = Ticket.load(ticket)
        assert {n: int(m.sum()) for n, m in made.masks.items()} == {n: int(m.sum()) for n, m in given.masks.items()}
        assert any(not torch.equal(made.masks[n], mask) for n, mask in given.masks.items()), "re-sampled at random"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"layers": {}}, "must declare its unit"),
        ({"unit": "percent", "layers": {}}, "it says 'percent'"),
        (
            {"unit": "density", "layers": {"hidden.0.weight": 0.5}},
            r"missing \['hidden.1.weight', 'classifier.weight'\]",
        ),
        ({"unit": "density", "layers": {"hidden.0.weight": 50}}, "no densities in the unit 'density'"),
    ],
)
def test_a_table_of_densities_that_does_not_fit_is_refused(table, message, tmp_path):
    (tmp_path / "table.json").write_text(json.dumps(table))
    path = f"method.allocation.path={tmp_path / 'table.json'}"
    refused(tmp_path, message, *AT_INIT, "method/allocation=from_densities", path)


LADDER = ["method=lrr", "method/criterion=random", "method.exact=false", "sparsity.density=0.3", "recipe.epochs=1"]


@pytest.mark.parametrize("published", ["erk clip", "erk clip_conv1d", "balanced sequential", "balanced clip"])
def test_a_ladder_of_a_published_allocation_runs_to_its_end(published, tmp_path):
    allocation, variant = published.split()
    train(tmp_path, *LADDER, f"method/allocation={allocation}", f"method.allocation.as_published={variant}")
    kept = [int(row["kept"]) for row in rows(tmp_path)]
    assert len(kept) == 7
    assert kept == sorted(set(kept), reverse=True)


def test_a_ladder_that_cannot_go_on_is_refused_before_its_first_level():
    net = mlp([8], 4, 1, 4)
    masks, name = Masks.ones(net), "hidden.0.weight"

    def rising(scores, density):
        return {n: 8 if n == name and density < 0.5 else 4 for n in scores}

    levels = [level_at(density) for density in (0.6, 0.4)]
    first, second = (Prune(level, criteria.magnitude, rising, exact=False) for level in levels)
    left = first.check(masks)
    assert left.kept_by_layer() == {name: 4, "classifier.weight": 4}
    with pytest.raises(ValueError, match=r"asks hidden.0.weight for 8 weights at density 0.4.* leaves 4"):
        second.check(left)


def level_at(density: float) -> Level:
    """A level at a density; nothing is written."""
    return Level(0, "some", density, "train", Path("unused"), 0, 1, Budget(1, 1))
