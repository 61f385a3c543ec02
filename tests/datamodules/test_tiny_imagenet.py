"""Tiny-ImageNet is unpacked and decoded once and atomically, also with several processes at the same time."""

import hashlib
import pkgutil
import shutil
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import torch
from PIL import Image

from lth.datamodules import TinyImageNet, _image_cache
from lth.datamodules.tiny_imagenet import _sort_validation
from tests.support import photographs
from tests.support.harness import forks

pytestmark = pytest.mark.slow

SHAPE = {"classes": 3, "channels": 3, "image_size": 64, "scale": 255, "mean": 0.5, "std": 0.25}
TREE = "tiny-imagenet-200"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in the published format, at a local address for the download, with its checksum."""
    (tmp_path / "www").mkdir()
    path = photographs.tiny_imagenet_zip(tmp_path / "www" / "tiny-imagenet-200.zip")
    monkeypatch.setattr(TinyImageNet, "md5", hashlib.md5(path.read_bytes()).hexdigest())
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(path.parent))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setattr(TinyImageNet, "url", f"http://127.0.0.1:{server.server_port}/{path.name}")
        yield path
        server.shutdown()


def ready(root, **keys):
    data = TinyImageNet(root=str(root), **{**SHAPE, **keys})
    data.prepare_data()
    data.setup()
    return data


def read(paths):
    """The images as one tensor of bytes."""
    return torch.stack([torch.tensor(np.asarray(Image.open(path))).permute(2, 0, 1) for path in paths])


def expected(root):
    """Pixels and labels, read directly from the files of the unpacked archive."""
    tree, lines = root / TREE, (root / TREE / "val" / "val_annotations.txt").read_text().splitlines()
    train = sorted((tree / "train").rglob("*.JPEG"), key=lambda path: (path.parts[-3], str(path)))
    label_of = dict(line.split("\t")[:2] for line in lines)
    tested = sorted(label_of)
    find = {path.name: path for path in (tree / "val").rglob("*.JPEG")}
    return (
        read(train),
        torch.tensor([photographs.SYNSETS.index(path.parts[-3]) for path in train]),
        read([find[name] for name in tested]),
        torch.tensor([photographs.SYNSETS.index(label_of[name]) for name in tested]),
    )


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_archive_is_downloaded_laid_out_and_read(archive, tmp_path):
    data = ready(tmp_path / "data", val_size=5)
    tree = tmp_path / "data" / TREE
    assert [len(list((tree / "val" / synset).glob("*.JPEG"))) for synset in photographs.SYNSETS[:3]] == [4, 4, 4]
    assert not (tree / "val" / "images").exists()
    assert same(data.read(data.root), expected(tmp_path / "data"))
    assert (data.train_size, len(data.part("val")[1]), len(data.part("test")[1])) == (19, 5, 12)
    assert next(iter(data.train_dataloader()))[0].shape == (19, 3, 64, 64)
    left = sorted(path.name for path in (tmp_path / "data").iterdir() if not path.name.endswith("lock"))
    assert left == [TREE, f"{TREE}.safetensors", f"{TREE}.zip"]


@pytest.mark.parametrize("layout", ["published", "sorted", "sorted, empty images folder", "in root itself"])
def test_every_layout_of_a_given_folder_reads_the_same_and_is_left_alone(archive, tmp_path, layout):
    root = tmp_path / "given"
    shutil.unpack_archive(archive, root)
    whole = expected(root)
    if layout.startswith("sorted"):
        _sort_validation(root / TREE / "val")
    if "empty" in layout:
        (root / TREE / "val" / "images").mkdir()
    before = sorted((root / TREE).rglob("*"))
    data = ready(root / TREE if "itself" in layout else root, cache=str(tmp_path / "cache"))
    assert same(data.read(data.root), whole)
    assert sorted((root / TREE).rglob("*")) == before
    assert (tmp_path / "cache" / f"{TREE}.safetensors").is_file()


@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg"])
@pytest.mark.parametrize("layout", ["annotated", "annotated, renamed", "folders"])
def test_images_may_have_any_suffix_of_an_image(archive, tmp_path, layout, suffix):
    shutil.unpack_archive(archive, tmp_path / "plain")
    shutil.unpack_archive(archive, tmp_path / "named")
    val = tmp_path / "named" / TREE / "val"
    if layout == "folders":
        _sort_validation(val)
    for path in sorted((tmp_path / "named" / TREE).rglob("*.JPEG")):
        path.rename(path.with_suffix(suffix))
    if layout == "annotated, renamed":
        lines = val / "val_annotations.txt"
        lines.write_text(lines.read_text().replace(".JPEG", suffix))
    plain, named = (ready(tmp_path / name).read(str(tmp_path / name)) for name in ("plain", "named"))
    assert same(plain, named)


def test_half_the_side_averages_four_pixels(archive, tmp_path):
    x = ready(tmp_path / "data").read(str(tmp_path / "data"))[0]
    half = ready(tmp_path / "data", image_size=32).read(str(tmp_path / "data"))[0]
    mean = x.double().view(24, 3, 32, 2, 32, 2).mean((3, 5))
    assert half.shape == (24, 3, 32, 32)
    assert (half - mean).abs().max() <= 0.5
    with pytest.raises(ValueError, match="image_size=48; valid: 64, 32"):
        TinyImageNet(**{**SHAPE, "image_size": 48})


def test_images_are_decoded_in_the_first_run_alone(archive, tmp_path, monkeypatch):
    first = ready(tmp_path / "data").read(str(tmp_path / "data"))
    monkeypatch.setattr(_image_cache, "decode_image", None)
    assert same(ready(tmp_path / "data").read(str(tmp_path / "data")), first)


class Crash(BaseException):
    pass


@pytest.mark.parametrize("at", ["download", "unpacking", "sorting", "decoding", "storing"])
def test_interrupted_preparation_is_made_good(archive, tmp_path, monkeypatch, at):
    root, done = tmp_path / "data", []

    def dies_after(function, calls):
        def fatal(*args, **keys):
            done.append(1)
            if len(done) > calls:
                raise Crash
            return function(*args, **keys)

        return fatal

    targets = {
        "download": ("torchvision.datasets.utils.check_integrity", 0),
        "unpacking": ("zipfile.ZipFile._extract_member", 9),
        "sorting": ("lth.datamodules.tiny_imagenet.os.replace", 5),
        "decoding": ("lth.datamodules._image_cache.decode_image", 7),
        "storing": ("lth.datamodules._image_cache.os.replace", 2 + 12),
    }
    name, calls = targets[at]
    module, _, attribute = name.rpartition(".")
    owner = pkgutil.resolve_name(module)
    with monkeypatch.context() as patch:
        patch.setattr(owner, attribute, dies_after(getattr(owner, attribute), calls))
        with pytest.raises(Crash):
            ready(root)
    assert not (root / f"{TREE}.safetensors").exists()
    data = ready(root)
    assert same(data.read(data.root), expected(root))
    assert not list(root.glob("*.partial"))


def test_what_an_interruption_left_is_not_mixed_into_the_dataset(archive, tmp_path):
    stale = tmp_path / "data" / f"{TREE}.partial" / TREE / "train" / "n00000001" / "images"
    stale.mkdir(parents=True)
    (stale / "n00000001_0.JPEG").write_bytes(b"half")
    assert ready(tmp_path / "data").train_size == 24


def _prepare(root, url, md5, results):
    TinyImageNet.url, TinyImageNet.md5 = url, md5
    results.put([int(part.sum()) for part in ready(root).read(str(root))])


def test_several_processes_prepare_the_same_folder_together(archive, tmp_path):
    context = forks()
    results = context.Queue()
    arguments = (tmp_path / "data", TinyImageNet.url, TinyImageNet.md5, results)
    processes = [context.Process(target=_prepare, args=arguments) for _ in range(3)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join()
    assert sums == [[int(part.sum()) for part in expected(tmp_path / "data")]] * 3


def test_a_damaged_archive_is_named(archive, tmp_path):
    (tmp_path / "data").mkdir()
    path = tmp_path / "data" / f"{TREE}.zip"
    path.write_bytes(archive.read_bytes()[:-9])
    with pytest.raises(ValueError, match=r"tiny-imagenet-200.zip is damaged \(md5 is not .*delete it"):
        ready(tmp_path / "data")


def test_without_archive_and_network_the_error_says_what_is_missing(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(TinyImageNet, "url", TinyImageNet.url + ".gone")
    with pytest.raises(FileNotFoundError, match=r"no tiny-imagenet-200 and no tiny-imagenet-200.zip; download failed"):
        ready(tmp_path / "data")


@pytest.mark.parametrize("damage", ["bytes", "truncated", "other files"])
def test_a_damaged_cache_is_named_or_made_again(archive, tmp_path, damage):
    # copies: the tensors are memory-mapped, and this test overwrites the file
    first = [part.clone() for part in ready(tmp_path / "data").read(str(tmp_path / "data"))]
    path = tmp_path / "data" / f"{TREE}.safetensors"
    content = bytearray(path.read_bytes())
    if damage == "bytes":
        content[-100] ^= 4
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"safetensors is damaged in .*_images; delete it"):
            ready(tmp_path / "data")
    elif damage == "truncated":
        path.write_bytes(content[:-100])
        assert same(ready(tmp_path / "data").read(str(tmp_path / "data")), first)
    else:
        next((tmp_path / "data" / TREE / "train").rglob("*_3.JPEG")).unlink()
        assert ready(tmp_path / "data").train_size == 23


@pytest.mark.parametrize("damage", ["truncated", "of another size"])
def test_a_photograph_that_is_damaged_is_named(archive, tmp_path, damage):
    shutil.unpack_archive(archive, tmp_path / "data")
    path = next((tmp_path / "data" / TREE / "train").rglob("*_3.JPEG"))
    content = path.read_bytes()[:300] if damage == "truncated" else photographs.jpeg(Image.new("RGB", (64, 60)))
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} is (damaged|64 x 60 pixels; valid: 64 x 64)"):
        ready(tmp_path / "data")


def test_classes_that_differ_between_the_parts_are_refused(archive, tmp_path):
    shutil.unpack_archive(archive, tmp_path / "data")
    annotations = tmp_path / "data" / TREE / "val" / "val_annotations.txt"
    annotations.write_text(annotations.read_text().replace(photographs.SYNSETS[1], "n09999999"))
    with pytest.raises(ValueError, match="train and val differ in the classes n02102040, n09999999"):
        ready(tmp_path / "data")


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: [*lines, lines[0]],
        lambda lines: [lines[0].replace("val_", "../val_", 1), *lines[1:]],
        lambda lines: [lines[0].partition("\t")[0], *lines[1:]],
    ],
    ids=["truncated", "twice", "a path", "no class"],
)
def test_annotations_that_do_not_list_the_images_are_refused(archive, tmp_path, damage):
    shutil.unpack_archive(archive, tmp_path / "data")
    annotations = tmp_path / "data" / TREE / "val" / "val_annotations.txt"
    annotations.write_text("\n".join(damage(annotations.read_text().splitlines())))
    with pytest.raises(ValueError, match=r"val_annotations\.txt is damaged: it does not list the images beside it"):
        ready(tmp_path / "data")


def test_grey_photographs_become_colour(archive, tmp_path):
    shutil.unpack_archive(archive, tmp_path / "data")
    path: Path = next((tmp_path / "data" / TREE / "train").rglob("*_3.JPEG"))
    path.write_bytes(photographs.jpeg(photographs.photograph(0, 3, 64, 64).convert("L")))
    x, *_ = ready(tmp_path / "data").read(str(tmp_path / "data"))
    assert (x[:, 0] == x[:, 1]).flatten(1).all(1).sum() == 1
