"""A window depends only on image and epoch, lies inside the image, and has the published distribution."""

import numpy as np
import pytest

from lth.datamodules._resized_crop import ResizedCrop, _uniforms, centre_windows

SIZES = np.random.default_rng(0).integers(20, 600, (3000, 2))
KEY = (5, 0, 3)


def test_every_window_lies_inside_its_image():
    windows = ResizedCrop().windows(SIZES, 0, KEY)
    assert (windows[:, :2] >= 0).all()
    assert (windows[:, 2:] >= 1).all()
    assert (windows[:, :2] + windows[:, 2:] <= SIZES).all()


def test_an_image_has_the_same_window_alone_as_among_others():
    windows = ResizedCrop().windows(SIZES, 0, KEY)
    for index in (0, 1, 17, 2999):
        assert (ResizedCrop().windows(SIZES[index : index + 1], index, KEY)[0] == windows[index]).all()
    others = np.where(np.arange(3000)[:, None] == 17, SIZES, 50)
    assert (ResizedCrop().windows(others, 0, KEY)[17] == windows[17]).all()


@pytest.mark.parametrize("key", [(6, 0, 3), (5, 1, 3), (5, 0, 4)], ids=["seed", "level", "epoch"])
def test_seed_level_and_epoch_change_nearly_every_window(key):
    sizes = 300 + SIZES // 2  # no image so long that only one window fits
    same = (ResizedCrop().windows(sizes, 0, key) == ResizedCrop().windows(sizes, 0, KEY)).all(1)
    assert same.mean() < 0.01


def test_area_and_shape_are_drawn_as_published():
    square = np.full((20000, 2), 500)
    windows = ResizedCrop(scale=(0.08, 0.5)).windows(square, 0, KEY)
    share, shape = windows[:, 2:].prod(1) / 250000, np.log(windows[:, 3] / windows[:, 2])
    assert share.mean() == pytest.approx(0.29, abs=0.005)
    assert share.min() == pytest.approx(0.08, abs=0.002)
    assert share.max() == pytest.approx(0.5, abs=0.005)
    assert abs(shape.mean()) < 0.01
    assert shape.std() == pytest.approx(2 * np.log(4 / 3) / np.sqrt(12), abs=0.01)
    centre = windows[:, :2] + windows[:, 2:] / 2
    assert centre.mean() == pytest.approx(250, abs=3)


@pytest.mark.parametrize("size", [(1000, 10), (10, 1000)])
def test_an_image_too_long_for_any_window_gets_the_widest_in_its_middle(size):
    top, left, height, width = ResizedCrop(scale=(0.9, 1.0)).windows(np.array([size]), 0, KEY)[0]
    assert 3 / 4 - 0.1 <= width / height <= 4 / 3 + 0.1
    assert min(height, width) == 10
    assert abs(2 * top + height - size[0]) <= 1
    assert abs(2 * left + width - size[1]) <= 1


def test_draws_are_uniform_and_independent_of_where_one_begins():
    draws = _uniforms(0, 5000, "x")
    assert (_uniforms(4000, 3, "x") == draws[4000:4003]).all()
    assert np.abs(draws.mean(0) - 0.5).max() < 0.02
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.05


def test_the_centre_is_a_square_of_the_given_share():
    assert centre_windows(np.array([[256, 400], [100, 60]]), 0, 0.875).tolist() == [[16, 88, 224, 224], [24, 4, 52, 52]]
    assert centre_windows(np.array([[1, 1]]), 0, 0.1).tolist() == [[0, 0, 1, 1]]


def test_resolution_follows_the_epoch():
    crop = ResizedCrop.of({"sizes": [[0, 128], [2, 160]]})
    assert [crop.pixels(epoch, 224) for epoch in range(4)] == [128, 128, 160, 160]
    assert ResizedCrop().pixels(7, 224) == 224


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"crop": 4}, r"augment keys \['crop'\]; valid: scale, ratio, flip, sizes"),
        ({"scale": [0.0, 1.0]}, r"augment.scale=\[0.0, 1.0\]; valid"),
        ({"scale": [8, 100]}, "augment.scale"),
        ({"scale": [0.5]}, "augment.scale"),
        ({"ratio": [2, 1]}, r"augment.ratio=\[2, 1\]; valid"),
        ({"flip": "often"}, "augment.flip='often'; valid: false, random, alternating"),
        ({"sizes": [[1, 128]]}, "augment.sizes=.*the first from epoch 0"),
        ({"sizes": [[0, 128], [0, 160]]}, "augment.sizes"),
        ({"sizes": [[0, 0]]}, "augment.sizes"),
    ],
)
def test_senseless_values_are_refused(keys, message):
    with pytest.raises(ValueError, match=message):
        ResizedCrop.of(keys)
