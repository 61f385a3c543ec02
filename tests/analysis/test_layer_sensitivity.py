"""Sensitivity prunes one tensor at a time, from the network's own weights, and leaves nothing behind."""

import pytest
import torch
from torch import nn

from lth.analysis.layer_sensitivity import (
    _mask_of_largest,
    accuracy_and_loss,
    draw_samples,
    fractions,
    layer_sensitivity,
)
from lth.networks import mlp, resnet20
from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.pruning.structured import units


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return resnet20(10, 3, 8)


def state(net: nn.Module) -> str:
    return fingerprint(net.state_dict())


def nothing(net: nn.Module) -> dict[str, float]:
    return {}


def test_each_point_changes_the_named_tensor_only_and_starts_from_the_original_weights(net):
    names = ["conv1.weight", "layer2.0.conv1.weight"]
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    seen = []

    def look(pruned: nn.Module) -> dict[str, float]:
        changed = [name for name, tensor in pruned.state_dict().items() if not torch.equal(tensor, before[name])]
        zeros = {name: int((pruned.get_parameter(name) == 0).sum()) for name in names}
        seen.append((changed, zeros))
        return {}

    points = list(layer_sensitivity(net, names, units.filters, [1, 0.5, 0.75], look))
    assert [(p["parameter"], p["density"]) for p in points] == [(n, d) for n in names for d in (1, 0.5, 0.75)]
    assert [changed for changed, _ in seen] == [[], [names[0]], [names[0]], [], [names[1]], [names[1]]]
    assert [zeros["conv1.weight"] for _, zeros in seen] == [0, 8 * 27, 4 * 27, 0, 0, 0]  # no point builds on another


def test_the_network_is_the_same_to_the_last_bit_between_rows_and_whatever_happens(net):
    net.train()
    before, random = state(net), torch.get_rng_state()
    for _ in layer_sensitivity(
        net, ["conv1.weight"], units.elements, [0.5, 0.1], lambda n: accuracy_and_loss(n, batches(net))
    ):
        assert state(net) == before
        assert net.training
    assert torch.equal(torch.get_rng_state(), random)

    def fail(pruned: nn.Module) -> dict[str, float]:
        raise RuntimeError("no data")

    with pytest.raises(RuntimeError):
        next(layer_sensitivity(net, ["conv1.weight"], units.elements, [0.5], fail))
    assert state(net) == before


def batches(net: nn.Module) -> list[tuple[torch.Tensor, torch.Tensor]]:
    random = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 3, 8, 8, generator=random), torch.randint(10, (n,), generator=random)) for n in (7, 7, 3)]


@pytest.mark.slow
def test_density_one_is_the_dense_network(net):
    data = batches(net)
    dense = accuracy_and_loss(net, data)
    rows = layer_sensitivity(net, list(Masks.ones(net)), units.elements, [1.0], lambda n: accuracy_and_loss(n, data))
    assert all({k: row[k] for k in dense} == dense for row in rows)


def test_names_match_exactly(net):
    with pytest.raises(ValueError, match=r"no parameters \['conv1'\]"):
        next(layer_sensitivity(net, ["conv1"], units.filters, [0.5], nothing))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.29, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("name", ["elements", "filters", "channels", "kernels"])
def test_the_smallest_parts_are_removed_ties_by_index_and_their_number_is_rounded_down(name, sparsity):
    weight = torch.randint(-3, 4, (10, 5, 2, 2), generator=torch.Generator().manual_seed(3)).float()
    numbers = getattr(units, name)(weight.shape)
    count = units.count_units(numbers)
    norms = [float(weight[numbers == part].abs().sum()) for part in range(count)]
    first = sorted(range(count), key=lambda part: (norms[part], part))[: int(sparsity * count + 1e-9)]
    keep = _mask_of_largest(weight, numbers, 1 - sparsity)
    expected = torch.tensor([0.0 if int(part) in first else 1.0 for part in numbers.flatten()])
    assert torch.equal(keep.flatten(), expected)


def test_a_percent_is_refused():
    with pytest.raises(ValueError, match="50 is not a fraction"):
        _mask_of_largest(torch.ones(2, 2), units.elements((2, 2)), 50)


def test_ranges_exclude_their_end_and_have_no_rounding_errors():
    assert fractions(0, 0.95, 0.05) == [round(0.05 * i, 2) for i in range(19)]
    assert fractions(0, 0.3, 0.1) == [0, 0.1, 0.2]
    assert fractions(0.5, 1, 0.25) == [0.5, 0.75]
    for wrong in ((0, 95, 5), (0.5, 0.5, 0.1), (0, 1, 0), (-0.1, 1, 0.1)):
        with pytest.raises(ValueError, match="START,END,STEP"):
            fractions(*wrong)


def test_accuracies_and_loss_are_those_of_a_slow_count():
    torch.manual_seed(0)
    net, random = mlp([8], 7, 1, 4, batch_norm=True), torch.Generator().manual_seed(1)
    data = [(torch.randn(n, 1, 4, 4, generator=random), torch.randint(7, (n,), generator=random)) for n in (9, 4)]
    found = accuracy_and_loss(net, data)
    net.eval()
    right = top5 = loss = 0.0
    for x, labels in data:
        for image, label in zip(x, labels, strict=True):
            logits = net(image[None])[0].detach()
            order = sorted(range(7), key=lambda c: -float(logits[c]))
            right += order[0] == int(label)
            top5 += int(label) in order[:5]
            loss -= float(logits.log_softmax(0)[label])
    assert found == {"top1": right / 13, "top5": top5 / 13, "loss": pytest.approx(loss / 13, rel=1e-5)}


def test_a_drawn_subset_has_its_size_and_no_sample_twice():
    data = [(torch.arange(5.0), torch.arange(5)), (torch.arange(5.0, 8), torch.arange(5, 8))]
    subset = draw_samples(data, 4, torch.Generator().manual_seed(0))
    labels = torch.cat([y for _, y in subset])
    assert len(labels) == len(labels.unique()) == 4
    assert all(torch.equal(x, y.float()) for x, y in subset)
    assert len(torch.cat([y for _, y in draw_samples(data, 8, torch.Generator())])) == 8
    with pytest.raises(ValueError, match="9 samples asked, there are 8"):
        draw_samples(data, 9, torch.Generator())
