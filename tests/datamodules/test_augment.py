"""Batched augmentation equals a loop over single images."""

import pytest
import torch

from lth.datamodules import _augment as augment
from lth.datamodules._augment import Augment, draw
from lth.datamodules._normalise import computed, given

EVERYTHING = Augment(crop=3, crop_mode="reflect", flip="random", cutout=4)


@pytest.fixture
def images():
    return torch.randint(0, 256, (12, 3, 7, 7), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def mirrored(position, size):
    """Source index of a padded position, by stepping outwards and turning at the edge pixels."""
    if position < 0:
        return -position
    return 2 * (size - 1) - position if position >= size else position


@pytest.mark.parametrize("mode", ["constant", "reflect"])
def test_a_crop_is_a_window_of_the_padded_image(images, mode):
    index, offsets, by = torch.tensor([5, 0, 11, 5]), torch.tensor([[0, 0], [6, 1], [3, 3], [2, 6]]), 3
    crops = augment.crop(augment.windows(augment.pad(images, by, mode), 7), index, offsets)
    for made, i, (down, right) in zip(crops, index, offsets.tolist(), strict=True):
        for row in range(7):
            for column in range(7):
                y, x = row + down - by, column + right - by
                inside = 0 <= y < 7 and 0 <= x < 7
                source = images[i, :, mirrored(y, 7), mirrored(x, 7)]
                expected = source if inside or mode == "reflect" else torch.zeros(3, dtype=torch.uint8)
                assert torch.equal(made[:, row, column], expected)


@pytest.mark.parametrize("by", [0, 1, 6])
def test_reflection_is_torchs_own(images, by):
    expected = torch.nn.functional.pad(images.double(), (by,) * 4, mode="reflect")
    assert torch.equal(augment.pad(images, by, "reflect").double(), expected)


def test_a_flip_mirrors_the_chosen_images_left_to_right(images):
    which = torch.arange(12) % 3 == 0
    flipped = augment.flip(images, which)
    for i in range(12):
        expected = images[i, :, :, [6, 5, 4, 3, 2, 1, 0]] if i % 3 == 0 else images[i]
        assert torch.equal(flipped[i], expected)


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_cutout_blanks_one_square_clipped_at_the_border(images, side):
    centres = torch.cartesian_prod(torch.tensor([0, 2, 6]), torch.tensor([0, 3, 5, 6]))
    cut = augment.cutout(images.float() + 1, centres, side)
    for made, image, (y, x) in zip(cut, images.float() + 1, centres.tolist(), strict=True):
        top, left = y - side // 2, x - side // 2
        image[:, max(top, 0) : top + side, max(left, 0) : left + side] = 0
        assert torch.equal(made, image)


def test_cutout_keeps_its_centre_out_and_has_the_full_size_inside(images):
    cut = augment.cutout(images.float() + 1, torch.full((12, 2), 3), 4)
    assert ((cut == 0).sum((1, 2, 3)) == 4 * 4 * 3).all()
    assert (cut[:, :, 3, 3] == 0).all()


def test_normalisation_is_pixel_over_scale_less_mean_over_std(images):
    mean, std = [0.1, 0.2, 0.3], [0.5, 0.6, 0.7]
    made = given(mean, std, 16, 3)(images)
    assert made.dtype == torch.float32
    for channel in range(3):
        expected = (images[:, channel].double() / 16 - mean[channel]) / std[channel]
        torch.testing.assert_close(made[:, channel].double(), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("by", "dims"), [("channel", (0, 2, 3)), ("pixel", 0)])
def test_standardised_images_have_mean_0_and_std_1(images, by, dims):
    made = computed(images, 255, by, 0.0)(images).double()
    assert made.mean(dims).abs().max() < 1e-5
    assert (made.std(dims, correction=0) - 1).abs().max() < 1e-5


def test_a_constant_pixel_is_refused_unless_std_eps_is_given(images):
    images[:, :, 0, 0] = 9
    with pytest.raises(ValueError, match="3 pixels are constant"):
        computed(images, 16, "pixel", 0.0)
    assert computed(images, 16, "pixel", 1e-3)(images)[:, :, 0, 0].abs().max() < 1e-3


def test_an_epoch_is_a_permutation_and_draws_every_place_and_side():
    draws = draw(2000, 9, EVERYTHING, seed=1, level=0, epoch=0)
    assert draws.order.sort().values.tolist() == list(range(2000))
    assert draws.offsets.unique().tolist() == list(range(7))
    assert draws.centres.unique().tolist() == list(range(9))
    assert 0.4 < draws.flips.float().mean() < 0.6
    assert (draws.offsets[:, 0] != draws.offsets[:, 1]).any()
    assert not torch.equal(draws.offsets, draw(2000, 7, EVERYTHING, seed=1, level=0, epoch=0).centres)


def test_draws_repeat_and_change_with_seed_level_and_epoch():
    first = draw(50, 9, EVERYTHING, seed=1, level=2, epoch=3)
    again = draw(50, 9, EVERYTHING, seed=1, level=2, epoch=3)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    for key in ((2, 2, 3), (1, 3, 3), (1, 2, 4), (3, 2, 1)):
        other = draw(50, 9, EVERYTHING, *key)
        assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_one_augmentation_more_leaves_the_draws_of_the_others():
    alone = draw(50, 9, Augment(flip="random"), seed=1, level=0, epoch=0)
    among = draw(50, 9, EVERYTHING, seed=1, level=0, epoch=0)
    assert torch.equal(alone.order, among.order)
    assert torch.equal(alone.flips, among.flips)
    assert alone.offsets is alone.centres is None


def test_the_global_generator_is_neither_used_nor_moved():
    torch.manual_seed(5)
    before, first = torch.get_rng_state(), draw(50, 9, EVERYTHING, 1, 0, 0)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert all(torch.equal(a, b) for a, b in zip(first, draw(50, 9, EVERYTHING, 1, 0, 0), strict=True))


def test_alternating_flip_shows_every_image_the_other_way_each_epoch():
    even, odd, later = (draw(200, 9, Augment(flip="alternating"), 1, 0, epoch).flips for epoch in (0, 1, 2))
    assert torch.equal(even, ~odd)
    assert torch.equal(even, later)
    assert 60 < even.sum() < 140


@pytest.mark.parametrize(
    ("key", "value", "valid"),
    [
        ("crop", 9, "0..8"),
        ("crop", -1, "0..8"),
        ("crop", 1.5, "0..8"),
        ("cutout", 10, "0..9"),
        ("crop_mode", "edge", "constant, reflect"),
        ("flip", True, "false, random, alternating"),
        ("flip", "sometimes", "false, random, alternating"),
        ("rotate", 5, "crop, crop_mode, flip, cutout"),
    ],
)
def test_senseless_augmentation_is_refused_with_what_is_valid(key, value, valid):
    with pytest.raises(ValueError, match=f"{key}.*valid: {valid}"):
        Augment.of({key: value}, image_size=9)
