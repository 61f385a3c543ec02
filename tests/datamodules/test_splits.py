"""Splits of the samples: stratified where the dataset asks for it, and with a fraction to train on."""

from fractions import Fraction

import pytest
import torch

from lth.datamodules._splits import stratified
from lth.report._cost import images_of_training

IMBALANCED = torch.tensor([0] * 40 + [1] * 31 + [2] * 7 + [4] * 101 + [5])[torch.randperm(180)]


@pytest.mark.parametrize("count", [0, 1, 36, 45, 90, 137, 180])
def test_a_stratified_part_has_every_classs_share_to_within_a_sample(count):
    rest, chosen = stratified(IMBALANCED, count, "key", 0)
    assert len(chosen) == count
    assert torch.equal(torch.cat([rest, chosen]).sort().values, torch.arange(180))
    for label in IMBALANCED.unique():
        share = Fraction(int((label == IMBALANCED).sum()) * count, 180)
        assert abs(int((IMBALANCED[chosen] == label).sum()) - share) < 1


def test_the_largest_remainders_get_the_last_samples():
    labels = torch.tensor([0] * 5 + [1] * 8 + [2] * 7)  # a tenth: 0.5, 0.8, 0.7 of two
    assert labels[stratified(labels, 2, "key", 0)[1]].tolist() == [1, 2]
    labels = torch.tensor([1, 0] * 5)  # a tie goes to the first class
    assert labels[stratified(labels, 1, "key", 0)[1]].tolist() == [0]


def test_a_stratified_part_is_drawn_within_its_class_and_by_its_key():
    drawn = {seed: tuple(stratified(IMBALANCED, 36, "key", seed)[1].tolist()) for seed in range(60)}
    assert len(set(drawn.values())) == 60
    assert drawn[0] == tuple(stratified(IMBALANCED, 36, "key", 0)[1].tolist())
    large = (IMBALANCED == 4).nonzero().flatten().tolist()
    assert set(large) == {index for chosen in drawn.values() for index in chosen} & set(large)


def test_a_subsample_is_part_of_the_training_set_and_leaves_the_rest_alone(made, samples):
    whole, part = made(val_size=20), made(val_size=20, subsample_frac=0.3)
    kept, some = samples(whole.scoring_batches(0)), samples(part.scoring_batches(0))
    assert (len(some), part.train_size, part.steps_per_epoch) == (15, 15, 1)
    assert set(some) < set(kept)
    for loader in ("val_dataloader", "test_dataloader"):
        assert samples(getattr(part, loader)()) == samples(getattr(whole, loader)())


def test_a_subsample_follows_the_splits_seed_and_no_other(made, samples):
    def trained_on(**keys):
        return samples(made(subsample_frac=0.5, **keys).scoring_batches(0))

    assert trained_on(seed=0) == trained_on(seed=1, batch_size=4, augment={"crop": 2})
    assert trained_on(split_seed=0) != trained_on(split_seed=1)


def test_a_tiny_subsample_is_still_a_sample(made):
    assert made(subsample_frac=0.001).train_size == 1


def test_computed_moments_are_those_of_the_subsample(made):
    few = made(standardise="channel", mean=None, std=None, subsample_frac=0.2)
    x = torch.cat([x for x, _ in few.scoring_batches(0)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", [0, -0.1, 1.5, 20])
def test_a_subsample_that_is_no_fraction_is_refused(made, value):
    with pytest.raises(ValueError, match=rf"subsample_frac={value}; valid: a fraction over 0 and up to 1"):
        made(subsample_frac=value)


@pytest.mark.parametrize("keys", [{"val_size": 20}, {"val_size": 0.3, "subsample_frac": 0.3}, {}])
def test_reports_count_the_images_that_are_trained_on(made, keys):
    assert images_of_training(keys, 70) == made(**keys).train_size
