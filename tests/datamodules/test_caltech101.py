"""Caltech-101: torchvision's layout and labels, splits stratified by category, one decoding for every image size."""

import shutil
import tarfile
import zipfile
from collections import Counter

import hydra
import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from lth.datamodules import Caltech101, _image_cache
from tests.datamodules.test_dataset_configs import composed
from tests.support import photographs

COUNTS = {"Faces": 20, "accordion": 15, "zebra": 9}  # capitals come first, as torchvision sorts
SHAPE = {"classes": 3, "channels": 3, "image_size": 16, "scale": 255, "mean": 0.5, "std": 0.25}
TREE = "101_ObjectCategories"


@pytest.fixture
def tree(tmp_path):
    """`root`/caltech101 with photographs of various sizes, one of them grey, and a folder that is no category."""
    top = tmp_path / "data" / "caltech101" / TREE
    for label, (name, count) in enumerate({**COUNTS, "BACKGROUND_Google": 4}.items()):
        (top / name).mkdir(parents=True)
        for number in range(count):
            image = photographs.photograph(label, number, 40 + 3 * number, 70 - number)
            image = image.convert("L") if (name, number) == ("zebra", 1) else image
            (top / name / f"image_{number + 1:04d}.jpg").write_bytes(photographs.jpeg(image))
    return top


@pytest.fixture
def archive(tree, tmp_path, monkeypatch):
    """A small archive in the published format that replaces the download; `root` is emptied."""
    path = tmp_path / "caltech-101.zip"
    with tarfile.open(tmp_path / f"{TREE}.tar.gz", "w:gz") as inner:
        inner.add(tree, TREE)
    with zipfile.ZipFile(path, "w") as outer:
        outer.write(tmp_path / f"{TREE}.tar.gz", f"caltech-101/{TREE}.tar.gz")
    shutil.rmtree(tmp_path / "data")

    def unpack(url, download_root, filename, md5):
        assert (filename, len(md5)) == (path.name, 32)
        shutil.copy(path, download_root)
        zipfile.ZipFile(path).extractall(download_root)

    monkeypatch.setattr("torchvision.datasets.caltech.download_and_extract_archive", unpack)
    return tmp_path / "data"


def ready(root, **keys):
    data = Caltech101(root=str(root), **{**SHAPE, **keys})
    data.prepare_data()
    data.setup()
    return data


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.slow
def test_photographs_and_labels_are_torchvisions(tree):
    root = tree.parents[1]
    theirs = torchvision.datasets.Caltech101(root)
    expected = {
        (np.asarray(image.convert("RGB").resize((16, 16), Image.Resampling.BILINEAR)).tobytes(), label)
        for image, label in theirs
    }
    train_x, train_y, test_x, test_y = ready(root).read(str(root))
    x, y = torch.cat([train_x, test_x]), torch.cat([train_y, test_y])
    assert {
        (image.permute(1, 2, 0).contiguous().numpy().tobytes(), int(label)) for image, label in zip(x, y, strict=True)
    } == expected
    assert len(expected) == len(y) == sum(COUNTS.values())


def test_every_category_is_split_60_20_20(tree):
    data = ready(tree.parents[1], val_size=0.25)
    found = {name: Counter(data.part(name)[1].tolist()) for name in ("train", "val", "test")}
    for label, count in enumerate(COUNTS.values()):
        for name, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
            assert abs(found[name][label] - share * count) < 1.5
    assert {name: sum(counts.values()) for name, counts in found.items()} == {"train": 26, "val": 9, "test": 9}
    half = ready(tree.parents[1], val_size=0.25, subsample_frac=0.5)
    assert all(abs(half.train_labels.eq(label).sum() - found["train"][label] / 2) < 1 for label in range(3))


def test_the_test_set_follows_its_own_seed_and_no_other(tree):
    def tested(**keys):
        return ready(tree.parents[1], **keys).part("test")[0].numpy().tobytes()

    assert tested() == tested(seed=1, split_seed=1, val_size=5, batch_size=4)
    assert tested() != tested(test_seed=1)


def test_the_split_is_the_same_on_every_machine(tree):
    labels = torch.tensor([0] * 20 + [1] * 15 + [2] * 9)
    _, test = ready(tree.parents[1]).split_off(labels, 9, "test", 0)
    assert test.tolist() == [3, 5, 7, 17, 24, 28, 30, 35, 41]


def test_sizes_are_decoded_once_each_and_kept_apart(tree, monkeypatch):
    root = tree.parents[1]
    first = {size: ready(root, image_size=size).read(str(root)) for size in (16, 24)}
    monkeypatch.setattr(_image_cache, "decode_image", None)
    assert all(same(ready(root, image_size=size).read(str(root)), parts) for size, parts in first.items())
    assert first[24][0].shape[1:] == (3, 24, 24)
    assert sorted(path.name for path in root.glob("*.safetensors")) == [
        "caltech101-16.safetensors",
        "caltech101-24.safetensors",
    ]


@pytest.mark.slow
def test_the_archive_is_downloaded_and_laid_out(archive):
    data = ready(archive)
    assert data.train_size == 35
    assert sorted(path.name for path in archive.iterdir() if path.suffix not in (".lock", ".safetensors")) == [
        "caltech101"
    ]


@pytest.mark.slow
def test_an_interrupted_download_is_made_good_and_never_taken_for_the_dataset(archive, monkeypatch):
    class Crash(BaseException):
        pass

    def dies(*args):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr("lth.datamodules.caltech101.os.replace", dies)
        with pytest.raises(Crash):
            ready(archive)
    next((archive / "caltech101.partial").rglob("*.jpg")).unlink()
    assert ready(archive).train_size == 35
    assert not (archive / "caltech101.partial").exists()


def test_without_files_and_network_the_error_says_what_is_missing(tmp_path, monkeypatch):
    def refuse(*args, **keys):
        raise OSError("no network in tests")

    monkeypatch.setattr("torchvision.datasets.caltech.download_and_extract_archive", refuse)
    with pytest.raises(FileNotFoundError, match=r"101_ObjectCategories is missing; download failed: no network"):
        ready(tmp_path / "none")


def test_a_tree_with_fewer_categories_is_refused(tree):
    shutil.rmtree(tree / "zebra")
    with pytest.raises(ValueError, match=r"dataset.classes=3, but .*101_ObjectCategories has 2 categories"):
        ready(tree.parents[1])


def test_a_photograph_that_is_damaged_is_named(tree):
    path = tree / "zebra" / "image_0003.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(ValueError, match=r"zebra/image_0003.jpg is damaged"):
        ready(tree.parents[1])


@pytest.mark.slow
def test_the_configuration_reads_the_files(tree):
    keys = "classes=3", "image_size=16", f"root={tree.parents[1]}"
    data = hydra.utils.instantiate(composed("dataset=caltech101", *(f"dataset.{key}" for key in keys)).dataset)
    data.prepare_data()
    data.setup()
    assert (data.train_size, len(data.part("val")[1]), len(data.part("test")[1])) == (26, 9, 9)
    assert next(iter(data.train_dataloader()))[0].shape == (26, 3, 16, 16)
