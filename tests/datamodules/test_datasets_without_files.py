"""Synthetic images can be learnt; the splits of the digits equal those of published results."""

import pytest
import torch

from lth.datamodules import Digits

DIGITS = {"classes": 10, "channels": 1, "image_size": 8, "scale": 16}


def test_synthetic_images_are_learnable_seeded_and_of_any_shape(made):
    data = made(classes=7, channels=2, image_size=13, mean=0.5, std=0.25, train_size=140, test_size=70)
    x, y, test_x, test_y = data.read(None)
    centres = torch.stack([x[y == label].float().mean(0) for label in range(7)]).flatten(1)
    nearest = torch.cdist(test_x.float().flatten(1), centres).argmin(1)
    assert (nearest == test_y).float().mean() > 0.9
    assert x.shape == (140, 2, 13, 13)
    same, other = (made(image_seed=seed).read(None)[0] for seed in (0, 1))
    assert torch.equal(same, made(seed=5, split_seed=5).read(None)[0])
    assert not torch.equal(same, other)


@pytest.mark.slow
@pytest.mark.parametrize(("count", "seed", "test"), [(1200, 0, 597), (1437, 1234, 360), (1297, 0, 500)])
def test_digits_follow_the_three_published_protocols(count, seed, test):
    from sklearn.datasets import load_digits

    source = load_digits()
    order = torch.randperm(1797, generator=torch.Generator().manual_seed(seed))
    pixels = torch.from_numpy(source.data)[order] / 16
    expected = (pixels - pixels[:count].mean(0)) / (pixels[:count].std(0, correction=0) + 1e-3)

    data = Digits(**DIGITS, standardise="pixel", std_eps=1e-3, train_count=count, permute_seed=seed)
    data.setup()
    x, y = next(iter(data.test_dataloader()))
    assert len(y) == test
    assert torch.equal(y, torch.from_numpy(source.target)[order][count:])
    torch.testing.assert_close(x.flatten(1).double(), expected[count:], rtol=1e-4, atol=1e-4)


def test_digits_as_given_are_sixteenths_less_the_mean():
    data = Digits(**DIGITS, mean=0.3, std=1.0)
    data.setup()
    values = torch.cat([x for x, _ in data.test_dataloader()]).unique()
    torch.testing.assert_close(values, torch.arange(17) / 16 - 0.3)
    with pytest.raises(ValueError, match=r"train_count=1797; valid: 1..1796"):
        Digits(**DIGITS, mean=0.3, std=1.0, train_count=1797)
