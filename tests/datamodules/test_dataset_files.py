"""Real file formats are read as they are published; a missing or damaged file is named.

Fashion-MNIST is the real one where Debian's package dataset-fashion-mnist is installed, else a small one of its form.
"""

import gzip
import hashlib
import pickle
import struct
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from lth.datamodules import CIFAR10, CIFAR100, MNIST, SVHN, FashionMNIST

DEBIAN = Path("/usr/share/datasets/fashion-mnist")
GREY = {"classes": 10, "channels": 1, "image_size": 28, "scale": 255, "mean": 0.5, "std": 0.5}
COLOUR = {"classes": 10, "channels": 3, "image_size": 32, "scale": 255, "mean": 0.5, "std": 0.5}
IDX = [f"{part}-{kind}-ubyte" for part in ("train", "t10k") for kind in ("images-idx3", "labels-idx1")]


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no network in tests")

    monkeypatch.setattr(urllib.request, "urlopen", refuse)


def ready(data):
    data.prepare_data()
    data.setup()
    return data


def idx_bytes(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


@pytest.fixture
def idx_folder(tmp_path):
    """A folder with four small IDX files, and what they hold."""
    random = np.random.default_rng(0)
    shapes = [(30, 28, 28), (30,), (10, 28, 28), (10,)]
    arrays = [random.integers(0, 10 if len(shape) == 1 else 256, shape, dtype=np.uint8) for shape in shapes]
    folder = tmp_path / "flat"
    folder.mkdir()
    for name, array in zip(IDX, arrays, strict=True):
        (folder / name).write_bytes(idx_bytes(array))
    return folder, arrays


@pytest.fixture
def fashion(idx_folder, tmp_path):
    """The four gzipped files of Fashion-MNIST."""
    if all((DEBIAN / f"{name}.gz").is_file() for name in IDX):
        return DEBIAN
    folder = tmp_path / "gz"
    folder.mkdir()
    for name in IDX:
        (folder / f"{name}.gz").write_bytes(gzip.compress((idx_folder[0] / name).read_bytes()))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["flat", "unzipped", "torchvision"])
def test_fashion_mnist_is_read_in_each_layout_it_is_installed_in(fashion, tmp_path, layout):
    root, expected = tmp_path / "root", []
    folder = root / "FashionMNIST" / "raw" if layout == "torchvision" else root
    folder.mkdir(parents=True)
    for name in IDX:
        content = gzip.decompress((fashion / f"{name}.gz").read_bytes())
        expected.append(np.frombuffer(content, np.uint8, offset=16 if "images" in name else 8))
        (folder / name).write_bytes(content)
    data = ready(FashionMNIST(root=str(fashion if layout == "flat" else root), **GREY, val_size=5))
    parts = data.read(data.root)
    for made, raw in zip(parts, expected, strict=True):
        assert torch.equal(made.flatten().to(torch.uint8), torch.tensor(raw))
    assert parts[0].shape == (len(parts[1]), 1, 28, 28)
    assert data.train_size == len(parts[1]) - 5
    assert parts[1].unique().tolist() == list(range(10)) or fashion != DEBIAN


@pytest.mark.slow
def test_the_installed_fashion_mnist_has_its_published_mean_and_std(fashion):
    x, y, _, _ = FashionMNIST(root=str(fashion), **GREY).read(str(fashion))
    if fashion == DEBIAN:
        assert (len(x), y.bincount().tolist()) == (60000, [6000] * 10)
        assert round(x.double().mean().item() / 255, 4) == 0.2860
        assert round(x.double().std().item() / 255, 4) == 0.3530
    else:
        assert len(x) == 30


def test_mnist_is_read_pixel_by_pixel(idx_folder):
    folder, arrays = idx_folder
    data = ready(MNIST(root=str(folder), **GREY))
    for made, array in zip(data.read(data.root), arrays, strict=True):
        assert torch.equal(made.squeeze(1) if made.ndim == 4 else made, torch.from_numpy(array).to(made.dtype))


def test_torchvisions_own_layout_comes_before_flat_files(idx_folder):
    folder, _ = idx_folder
    (folder / "MNIST" / "raw").mkdir(parents=True)
    for name in IDX:
        (folder / "MNIST" / "raw" / name).write_bytes((folder / name).read_bytes())
    assert ready(MNIST(root=str(folder), **GREY))._find(folder)[0].parent == folder / "MNIST" / "raw"


@pytest.mark.parametrize("name", IDX)
@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-5],
        lambda content: content + b"\0",
        lambda content: content[:6],
        lambda content: b"",
        lambda content: b"\0\0\x0d" + content[3:],
    ],
    ids=["truncated", "longer", "header only", "empty", "floats"],
)
def test_a_damaged_idx_file_is_named(idx_folder, name, damage):
    folder, _ = idx_folder
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(ValueError, match=f"{name} is (damaged|not an IDX file)"):
        ready(MNIST(root=str(folder), **GREY))


@pytest.mark.parametrize("keep", [0.5, 0.99])
def test_a_truncated_gzip_file_is_named(idx_folder, keep):
    folder, _ = idx_folder
    content = gzip.compress((folder / IDX[0]).read_bytes())
    (folder / IDX[0]).unlink()
    (folder / f"{IDX[0]}.gz").write_bytes(content[: int(keep * len(content))])
    with pytest.raises(ValueError, match=rf"{IDX[0]}.gz is damaged"):
        ready(MNIST(root=str(folder), **GREY))


@pytest.mark.parametrize("dataset", [MNIST, FashionMNIST])
def test_missing_idx_files_are_named_with_the_folders_searched(idx_folder, dataset):
    folder, _ = idx_folder
    (folder / IDX[2]).unlink()
    with pytest.raises(FileNotFoundError, match=f"{folder} lacks .*{IDX[2]}"):
        ready(dataset(root=str(folder), **GREY))
    with pytest.raises(FileNotFoundError, match=f"{dataset.__name__}/raw lacks"):
        dataset(root=str(folder), **GREY).setup()


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """Writes a small CIFAR in the published format and tells torchvision its checksums."""

    def write(name, classes):
        source, random, images = getattr(torchvision.datasets, name), np.random.default_rng(1), []
        folder = tmp_path / source.base_folder
        folder.mkdir()
        key = source.meta["key"]
        contents = {source.meta["filename"]: {key: [str(label) for label in range(classes)]}}
        for file, _ in source.train_list + source.test_list:
            images.append(random.integers(0, 256, (4, 3072), dtype=np.uint8))
            labels = random.integers(0, classes, 4).tolist()
            contents[file] = {"data": images[-1], "labels" if classes == 10 else "fine_labels": labels}
        for file, content in contents.items():
            (folder / file).write_bytes(pickle.dumps(content, protocol=2))
        for part in ("train_list", "test_list"):
            monkeypatch.setattr(source, part, [[f, md5(folder / f)] for f, _ in getattr(source, part)])
        meta = source.meta["filename"]
        monkeypatch.setattr(source, "meta", {"filename": meta, "key": key, "md5": md5(folder / meta)})
        return folder, torch.from_numpy(np.concatenate(images)).view(-1, 3, 32, 32)

    return write


@pytest.mark.parametrize(("dataset", "classes", "train"), [(CIFAR10, 10, 20), (CIFAR100, 100, 4)])
def test_cifar_is_read_channel_by_channel(cifar, dataset, classes, train):
    folder, images = cifar(dataset.__name__, classes)
    data = ready(dataset(root=str(folder.parent), **{**COLOUR, "classes": classes}))
    train_x, train_y, test_x, test_y = data.read(data.root)
    assert torch.equal(torch.cat([train_x, test_x]), images)
    assert train_x.is_contiguous()
    assert (len(train_y), len(test_y), train_y.dtype) == (train, 4, torch.int64)


@pytest.mark.parametrize("file", ["data_batch_3", "test_batch", "batches.meta"])
def test_a_damaged_or_missing_cifar_file_is_named(cifar, file):
    folder, _ = cifar("CIFAR10", 10)
    (folder / file).write_bytes((folder / file).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        ready(CIFAR10(root=str(folder.parent), **COLOUR))
    (folder / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        ready(CIFAR10(root=str(folder.parent), **COLOUR))


@pytest.fixture
def svhn(tmp_path, monkeypatch):
    """A folder with a small SVHN in the published format, whose checksums torchvision knows."""
    random, listed = np.random.default_rng(2), {}
    for part, count in (("train", 12), ("test", 5)):
        path = tmp_path / f"{part}_32x32.mat"
        pixels = random.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        scipy.io.savemat(path, {"X": pixels, "y": np.arange(count, dtype=np.uint8)[:, None] % 10 + 1})
        listed[part] = ["", path.name, md5(path)]
    monkeypatch.setattr(torchvision.datasets.SVHN, "split_list", listed)
    return tmp_path


def test_svhn_is_read_with_its_tenth_label_as_zero(svhn):
    data = ready(SVHN(root=str(svhn), **COLOUR))
    train_x, train_y, test_x, test_y = data.read(data.root)
    pixels = torch.from_numpy(scipy.io.loadmat(svhn / "train_32x32.mat")["X"])
    assert torch.equal(train_x, pixels.permute(3, 2, 0, 1))
    assert train_x.is_contiguous()
    assert train_y.tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2]
    assert (len(test_x), len(test_y)) == (5, 5)


@pytest.mark.parametrize("file", ["train_32x32.mat", "test_32x32.mat"])
def test_a_damaged_or_missing_svhn_file_is_named(svhn, file):
    (svhn / file).write_bytes((svhn / file).read_bytes()[:-1])
    with pytest.raises(ValueError, match=f"{file} is damaged"):
        ready(SVHN(root=str(svhn), **COLOUR))
    (svhn / file).unlink()
    with pytest.raises(FileNotFoundError, match=f"{file} is missing"):
        ready(SVHN(root=str(svhn), **COLOUR))


@pytest.mark.parametrize("dataset", [MNIST, CIFAR10, SVHN])
def test_a_dataset_with_files_needs_a_root(dataset):
    with pytest.raises(ValueError, match=r"dataset\.root is null"):
        ready(dataset(**(GREY if dataset is MNIST else COLOUR)))
