"""STR: soft threshold reparameterisation (arXiv 2002.03231, eq. 3 to 6).

W' = sign(W) relu(|W| - g(s)). dL/dW = 1[|W| > g(s)] dL/dW', dL/ds = -g'(s) sum of sign(W) 1[|W| > g(s)] dL/dW'.
"""

import math

import pytest
import torch

from lth.modules._shrinkage import LINKS, epoch_of_threshold, shift_of_thresholds, soft_threshold
from tests.parity.plain import MLP, PlainMLP, draw, equal, half, sgd
from tests.parity.training import LR, Start


def sigmoid(s: float) -> float:
    return 1 / (1 + math.exp(-s))


# g and its derivative
LINK = {
    "sigmoid": (sigmoid, lambda s: sigmoid(s) * (1 - sigmoid(s))),
    "exp": (math.exp, math.exp),
}


@pytest.mark.parametrize("link", LINK)
@pytest.mark.parametrize("seed", range(3))
def test_output_and_both_gradients_are_the_papers(seed, link):
    weight = draw(MLP, seed)["first"].requires_grad_()
    support = half(MLP, 10 + seed)["first"]
    with torch.no_grad():
        weight *= support  # a weight outside the support is zero and stays zero
    toward, s = draw(MLP, 20 + seed)["first"], torch.tensor(-0.8, dtype=torch.float64, requires_grad=True)
    used = soft_threshold(weight, LINKS[link](s))
    (used * toward).sum().backward()
    g, slope = (f(-0.8) for f in LINK[link])
    of_s, over = 0.0, 0
    entries = (t.detach().flatten().tolist() for t in (weight, used, toward, weight.grad))
    for w, found, along, gradient in zip(*entries, strict=True):
        sign = math.copysign(1, w) if w else 0
        assert found == pytest.approx(sign * max(abs(w) - g, 0), abs=1e-15)
        assert gradient == pytest.approx(along if abs(w) > g else 0, abs=1e-15)
        of_s += -slope * sign * along if abs(w) > g else 0
        over += abs(w) > g
    assert float(s.grad) == pytest.approx(of_s, rel=1e-12)
    assert 0 < over < int(support.sum())


def test_the_worked_example_has_the_published_numbers():
    w = torch.tensor([0.5, -0.02, -0.3, 0.2], dtype=torch.float64, requires_grad=True)
    s = torch.tensor(math.log(1 / 9), dtype=torch.float64, requires_grad=True)
    used = soft_threshold(w, torch.sigmoid(s))
    (used * torch.tensor([1.0, 1.0, 1.0, 2.0])).sum().backward()
    assert used.tolist() == pytest.approx([0.4, 0, -0.2, 0.1])
    assert w.grad.tolist() == [1, 0, 1, 2]
    assert float(s.grad) == pytest.approx(-0.18)


@pytest.mark.parametrize(("start", "decay", "epochs"), [(-200, 1e-3, 19), (-200, 5e-4, 39), (-100, 5e-4, 30)])
def test_weight_decay_alone_lifts_the_thresholds_in_the_epoch_of_a_plain_simulation(start, decay, epochs):
    def rate(step):
        epoch = step // 196
        return 0.1 * ((epoch + 1) / 5 if epoch < 5 else (1 + math.cos(math.pi * (epoch - 5) / 95)) / 2)

    s, v, reached = float(start), 0.0, None
    for step in range(100 * 196):
        v = 0.9 * v + decay * s
        s -= rate(step) * v
        if reached is None and s > -50 and sigmoid(s) > 1e-3:
            reached = step // 196
    assert epoch_of_threshold(start, decay, 0.9, rate, 100 * 196, 196) == reached == epochs


def test_a_controlled_density_moves_all_thresholds_by_one_number():
    weights = list(draw(MLP, 0).values())
    s, kept = torch.tensor([-2.0, -3.0, -1.0], dtype=torch.float64), 150
    shift = shift_of_thresholds(weights, s, "sigmoid", kept)
    over = [
        abs(w) > sigmoid(float(level) + shift)
        for t, level in zip(weights, s, strict=True)
        for w in t.flatten().tolist()
    ]
    assert sum(over) == kept


@pytest.mark.slow
@pytest.mark.parametrize("link", LINK)
def test_thirty_steps_of_str_are_the_papers_equations(link, tmp_path):
    from lth.experiment.build import Experiment
    from lth.storage.folder import RunFolder
    from tests.parity.training import DECAY, LEVEL
    from tests.support.harness import configuration

    options = ["method=str", "method.start=-2.5", "method.decay=0.05", f"method.link={link}"]
    options += ["support=erk", "support.density=0.6", "sparsity.density=null"]
    built = Experiment(configuration(tmp_path, *LEVEL, *options), RunFolder(tmp_path))
    built.masks.copy_(built.support)
    module, start = built.build_level(built.levels[0])[0], Start()
    built.trainer(built.levels[0], [start], []).fit(module, datamodule=built.data)

    g, slope = LINK[link]
    values, names = start.weights, list(start.masks)
    values |= {name: values[name] * start.masks[name] for name in names}
    s, velocity, of_s, densities = dict.fromkeys(names, -2.5), {}, dict.fromkeys(names, 0.0), []
    for step, (x, labels) in enumerate(start.batches):
        over = {n: values[n].abs() > g(s[n]) for n in names}
        densities.append(sum(int(mask.sum()) for mask in over.values()))
        used = values | {n: values[n].sign() * (values[n].abs() - g(s[n])).clamp(min=0) for n in names}
        dense = PlainMLP(values, {}).gradients(x, labels, used)
        for n in names:
            along = float((values[n].sign() * over[n] * dense[n]).sum())
            pulled = -slope(s[n]) * along + 0.05 * s[n]
            of_s[n] = 0.9 * of_s[n] + pulled if step else pulled
            s[n] -= LR * of_s[n]
        gradients = {n: d * over[n] if n in over else d for n, d in dense.items()}
        sgd(values, gradients, velocity, LR, 0.9, DECAY)
    assert densities[-1] < 0.8 * densities[0] < densities[0] < module.masks.total
    assert module.s.tolist() == pytest.approx(list(s.values()), abs=1e-12)
    found = {name: p.detach() for name, p in built.net.named_parameters()}
    assert all(torch.allclose(found[name], values[name], rtol=0, atol=1e-12) for name in values)
    assert equal(module.final_masks(), {n: values[n].abs() > g(s[n]) for n in names})
