"""A damaged file of a run is refused in one line that names it, or changes nothing."""

import shutil

import pytest

from tests.faults import files

pytestmark = pytest.mark.slow

SAMPLE = {
    "last.ckpt": ("code", "NaN", "NaN, without seal", "half precision", "of another level", "of another run"),
    "rewind.ckpt": ("nested pickle", "one weight", "of another run", "huge header"),
    "finished": ("nested text", "another number", "without seal", "of another run"),
    "config.yaml": ("nested text", "nested mapping", "yaml code", "another number", "of another run"),
    "metrics.csv": ("nested pickle", "zeros", "of another run"),
    "ticket.safetensors": ("huge header", "of another run", "of another level", "code"),
    "starting weights": ("huge header", "code", "zeros", "of another run"),
    "results.csv": ("zeros", "of another run"),
}


@pytest.fixture(scope="module")
def interrupted(tmp_path_factory):
    return files.Interrupted(tmp_path_factory.mktemp("runs"))


@pytest.mark.parametrize("kind", files.KINDS)
def test_a_changed_file_is_refused_by_name_or_changes_nothing(kind, interrupted):
    variants = dict(interrupted.variants(kind, 100))
    cut, flipped = (next(name for name in variants if name.startswith(what)) for what in ("cut", "flip "))
    found = {name: interrupted.try_variant(kind, variants[name]) for name in (*SAMPLE[kind], cut, flipped)}
    assert {name: what for name, what in found.items() if what not in ("refused", "no effect")} == {}


def test_a_changed_cache_is_refused_by_name_or_decoded_again(tmp_path):
    cache = files.Cache(tmp_path)
    found = {name: cache.try_variant(content) for name, content in cache.variants(40)}
    assert {name: what for name, what in found.items() if what not in ("refused", "no effect")} == {}


def test_an_image_that_was_replaced_is_decoded_again(tmp_path):
    cache = files.Cache(tmp_path)
    first, other = (path for path, _ in (cache.samples[0], cache.samples[-1]))
    shutil.copyfile(other, first)
    images = cache.read()["all_images"]
    assert (images[0] == images[-1]).all()
