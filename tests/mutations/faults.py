"""The faults that the suite must notice, one change of one line each."""

from typing import NamedTuple


class Fault(NamedTuple):
    """One change of the code.

    name: what the code then does wrong
    file: path in the repository
    old, new: every occurrence of `old` becomes `new`
    tests: files or folders, separated by spaces, one of whose tests must fail
    """

    name: str
    file: str
    old: str
    new: str
    tests: str


FAULTS = [
    Fault(
        "gradients of pruned weights are not masked",
        "lth/pruning/masks.py",
        "zero_([grad for grad, _ in pairs], [mask for _, mask in pairs])",
        "pass",
        "tests/modules/test_kept_weights.py",
    ),
    Fault(
        "weights are not zeroed after the optimizer's step",
        "lth/modules/kept_weights.py",
        "optimizer_closure)\n        zero_(*self._pruned)",
        "optimizer_closure)",
        "tests/modules/test_kept_weights.py tests/experiment/test_levels.py",
    ),
    Fault(
        "optimizer state of dropped weights stays",
        "lth/pruning/masks.py",
        "zero_(state, [mask] * len(state))",
        "pass",
        "tests/callbacks/test_regrow.py tests/modules/test_kept_weights.py",
    ),
    Fault(
        "a resumed level does not take its masks from the checkpoint",
        "lth/modules/kept_weights.py",
        'self.masks.copy_(checkpoint["masks"])',
        "pass",
        "tests/callbacks/test_regrow.py tests/callbacks/test_gradual.py tests/experiment/test_resume.py",
    ),
    Fault(
        "a rewind keeps the trained batch-norm statistics",
        "lth/callbacks/boundary/rewind.py",
        'if self.bn_stats == "keep" else set()',
        'if self.bn_stats != "keep" else set()',
        "tests/experiment/test_levels.py",
    ),
    Fault(
        "the rewind point is saved one step late",
        "lth/callbacks/boundary/rewind.py",
        "step == self.step:",
        "step == self.step + 1:",
        "tests/experiment/test_levels.py",
    ),
    Fault(
        "a level that resumes is rewound again",
        "lth/callbacks/boundary/rewind.py",
        "if trainer.ckpt_path or not self.active:",
        "if not self.active:",
        "tests/experiment/test_resume.py",
    ),
    Fault(
        "a level that resumes is pruned again",
        "lth/callbacks/boundary/prune_to_density.py",
        "if trainer.ckpt_path:",
        "if False:",
        "tests/experiment/test_resume.py tests/callbacks",
    ),
    Fault(
        "among equal scores the last weights are kept",
        "lth/pruning/topk.py",
        "keep[at[ties:]] = False",
        "keep[at[: len(at) - ties]] = False",
        "tests/pruning/test_topk.py",
    ),
    Fault(
        "the k-th largest score is off by one",
        "lth/pruning/topk.py",
        "at_least >= k",
        "at_least > k",
        "tests/pruning/test_topk.py",
    ),
    Fault(
        "pruned weights compete again, with score 0",
        "lth/pruning/prune.py",
        "torch.tensor(-torch.inf, dtype=score.dtype",
        "torch.tensor(0.0, dtype=score.dtype",
        "tests/pruning/test_prune.py",
    ),
    Fault(
        "iterative pruning takes its first round at the old density",
        "lth/pruning/prune.py",
        "** (i / rounds)",
        "** ((i - 1) / rounds)",
        "tests/pruning/test_prune.py tests/pruning/test_criteria_at_init.py",
    ),
    Fault(
        "counts are rounded down",
        "lth/pruning/allocation/counts.py",
        "check_density(density) * total + 0.5)",
        "check_density(density) * total)",
        "tests/pruning/allocation tests/pruning/test_prune.py",
    ),
    Fault(
        "a percent passes for a density",
        "lth/pruning/allocation/counts.py",
        "and 0 < density <= 1)",
        "and 0 < density <= 100)",
        "tests/pruning/allocation tests/pruning/test_prune.py",
    ),
    Fault(
        "full layers are not taken off the amount to share out",
        "lth/pruning/allocation/counts.py",
        "free = amount - sum(capacity[n] for n in full)",
        "free = amount",
        "tests/pruning/allocation",
    ),
    Fault(
        "ERK forgets the kernel",
        "lth/pruning/allocation/erdos_renyi.py",
        "sum(score.shape) + (one",
        "sum(score.shape[:2]) + (one",
        "tests/pruning/allocation",
    ),
    Fault(
        "a ladder has one level too many where rounding meets its end",
        "lth/pruning/ladder.py",
        "/ math.log1p(-rate) - _TOLERANCE)",
        "/ math.log1p(-rate))",
        "tests/pruning/test_ladder.py",
    ),
    Fault(
        "a geometric ladder keeps the rate instead of removing it",
        "lth/pruning/ladder.py",
        "ratio = 1 - rate if rate is not None",
        "ratio = rate if rate is not None",
        "tests/pruning/test_ladder.py",
    ),
    Fault(
        "magnitude is signed",
        "lth/pruning/criteria/magnitude.py",
        "w.detach().abs()",
        "w.detach()",
        "tests/pruning/test_criteria.py",
    ),
    Fault(
        "SNIP sums absolute gradients",
        "lth/pruning/criteria/snip.py",
        "(w * g).detach().abs()",
        "(w.abs() * g).detach()",
        "tests/pruning/test_criteria_at_init.py",
    ),
    Fault(
        "SynFlow forgets the weights",
        "lth/pruning/criteria/synaptic_flow.py",
        ".mul_(weight).abs_()",
        ".abs_()",
        "tests/pruning/test_criteria_at_init.py",
    ),
    Fault(
        "GraSP keeps what it should remove",
        "lth/pruning/criteria/grasp.py",
        "(w * h).detach()",
        "(-w * h).detach()",
        "tests/pruning/test_criteria_at_init.py",
    ),
    Fault(
        "a random stream forgets its last key",
        "lth/pruning/seeds.py",
        "repr(key).encode()",
        "repr(key[:-1]).encode()",
        "tests/pruning/test_random_tickets.py tests/datamodules/test_array_loader.py tests/datamodules/test_arrays.py",
    ),
    Fault(
        "updates of the topology go on at the stop",
        "lth/pruning/timing.py",
        "self.begin <= step < self.stop",
        "self.begin <= step <= self.stop",
        "tests/pruning/topology",
    ),
    Fault(
        "gradual pruning stops one update early",
        "lth/pruning/timing.py",
        "self._first <= number <= self._last - self.as_published",
        "self._first <= number < self._last - self.as_published",
        "tests/callbacks/test_gradual.py tests/pruning/topology",
    ),
    Fault(
        "weights grow outside the support",
        "lth/pruning/topology/move.py",
        ".allowed & ~taken",
        ".allowed | ~taken",
        "tests/pruning/topology tests/callbacks/test_regrow.py",
    ),
    Fault(
        "the drop fraction rises along its cosine",
        "lth/pruning/topology/fraction.py",
        "(1 + math.cos(math.pi * x)) / 2",
        "(1 - math.cos(math.pi * x)) / 2",
        "tests/pruning/topology",
    ),
    Fault(
        "the cubic path is a square",
        "lth/pruning/paths.py",
        "(1 - _within(x)) ** 3",
        "(1 - _within(x)) ** 2",
        "tests/pruning/topology tests/callbacks/test_gradual.py",
    ),
    Fault(
        "the moving average of weights moves too fast",
        "lth/callbacks/within/ema.py",
        "1 - self.decay)",
        "self.decay)",
        "tests/experiment/test_levels.py tests/callbacks",
    ),
    Fault(
        "training goes on from the averaged weights",
        "lth/callbacks/within/ema.py",
        "average.copy_(raw)",
        "pass",
        "tests/experiment/test_levels.py tests/callbacks",
    ),
    Fault(
        "a milestone acts one step late",
        "lth/training/schedules.py",
        "sum(step >= m for m in at)",
        "sum(step > m for m in at)",
        "tests/training/test_schedules.py",
    ),
    Fault(
        "the learning rate is that of the next step",
        "lth/modules/classifier.py",
        "self.factor(step)",
        "self.factor(step + 1)",
        "tests/modules tests/experiment/test_levels.py",
    ),
    Fault(
        "mixup swaps the two labels",
        "lth/modules/classifier.py",
        "loss = lam * self.loss(logits, labels) + (1 - lam) * self.loss(logits, labels[partner])",
        "loss = lam * self.loss(logits, labels[partner]) + (1 - lam) * self.loss(logits, labels)",
        "tests/modules tests/experiment/test_levels.py",
    ),
    Fault(
        "dropout draws the same in every epoch",
        "lth/modules/classifier.py",
        "self.level.stream, self.current_epoch, self.global_rank))",
        "self.level.stream, self.global_rank))",
        "tests/modules tests/experiment/test_levels.py",
    ),
    Fault(
        "soft thresholding forgets the sign",
        "lth/pruning/shrinkage.py",
        "torch.sign(weight) * torch.relu(",
        "torch.relu(",
        "tests/pruning/test_shrinkage.py",
    ),
    Fault(
        "edge-popup's gradient misses the sign of the score",
        "lth/pruning/search/straight_through.py",
        "if ctx.signed:",
        "if not ctx.signed:",
        "tests/pruning/search/test_straight_through.py",
    ),
    Fault(
        "an event of Gem-Miner removes one weight fewer",
        "lth/pruning/search/events.py",
        "active - math.ceil(r * active - 1e-9)",
        "active - math.floor(r * active)",
        "tests/pruning/search/test_freezing.py",
    ),
    Fault(
        "a damaged ticket is read",
        "lth/tickets/ticket.py",
        "if damaged:",
        "if False:",
        "tests/tickets/test_damaged_ticket.py",
    ),
    Fault(
        "a shuffled ticket keeps its mask",
        "lth/tickets/treatments/shuffle.py",
        "draws.argsort(1)",
        "draws.argsort(1).sort(1).values",
        "tests/tickets/test_treatments.py",
    ),
    Fault(
        "every rank trains on the first rank's samples",
        "lth/datamodules/_loader.py",
        "slice(start + rank, start",
        "slice(start, start",
        "tests/datamodules/test_array_loader.py",
    ),
    Fault(
        "every epoch has the order of the first",
        "lth/datamodules/_loader.py",
        "self.draw(epoch)",
        "self.draw(0)",
        "tests/datamodules/test_array_loader.py tests/datamodules/test_arrays.py",
    ),
    Fault(
        "validation samples are trained on too",
        "lth/datamodules/_splits.py",
        "return order[count:].sort().values, order[:count].sort().values\n\n\ndef stratified",
        "return order.sort().values, order[:count].sort().values\n\n\ndef stratified",
        "tests/datamodules/test_splits.py tests/datamodules/test_arrays.py",
    ),
    Fault(
        "a search's ladder loses its last density",
        "lth/plan/plans.py",
        "searched = densities[1:] or densities",
        "searched = densities[:-1] or densities",
        "tests/plan/test_plan.py",
    ),
    Fault(
        "another seed goes on in the folder of a run",
        "lth/storage/folder.py",
        '    "threads",\n',
        '    "threads",\n    "seed",\n    "seeds",\n',
        "tests/storage/test_folder.py",
    ),
    Fault(
        "a condition of the sanity checks holds when it is missed by its threshold",
        "lth/sanity/_conditions.py",
        "value > comparison.threshold + slack",
        "value < comparison.threshold + slack",
        "tests/sanity",
    ),
    Fault(
        "intervals are those of a normal distribution with one seed more",
        "lth/analysis/interval.py",
        "n - 1) * stdev",
        "n) * stdev",
        "tests/analysis/test_interval.py",
    ),
    Fault(
        "excluded layers are pruned",
        "lth/pruning/prunable.py",
        "_matching(include, list(found), others) - _matching(exclude",
        "_matching(include, list(found), others) | _matching(exclude",
        "tests/pruning/test_prunable.py",
    ),
    Fault(
        "batch-norm statistics are measured with the running average",
        "lth/callbacks/boundary/batch_norm.py",
        "norm.momentum = None",
        "norm.momentum = norm.momentum",
        "tests/callbacks/test_batch_norm.py",
    ),
]
