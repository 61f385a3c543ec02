"""A .beton file holds the images of the folder, also after interruptions; an incomplete file gets no name."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import numpy as np
import pytest
from PIL import Image

from lth.datamodules.ffcv import _partial_beton
from lth.datamodules.ffcv._beton import Beton, _torch_threads_kept, open_beton
from lth.datamodules.ffcv.write_beton import _verify, main
from tests.support import photographs

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(find_spec("ffcv") is None, reason="FFCV is not installed: make ffcv"),
]


@pytest.fixture
def root(tmp_path):
    return photographs.imagenet(tmp_path / "photos", train=6, val=2)


def whole_image(sizes, first):
    """The window of each image that is the whole of it."""
    return np.hstack([0 * sizes, sizes])


def content(root, part="train"):
    """Pixels and labels of a file in order, read by FFCV's own loader."""
    from ffcv.fields.decoders import CenterCropRGBImageDecoder, IntDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import ToTensor, ToTorchImage

    with _torch_threads_kept():
        loader = Loader(
            str(root / f"{part}.beton"),
            batch_size=4,
            num_workers=1,
            order=OrderOption.SEQUENTIAL,
            drop_last=False,
            pipelines={
                "image": [CenterCropRGBImageDecoder((32, 32), 1.0), ToTensor(), ToTorchImage()],
                "label": [IntDecoder(), ToTensor()],
            },
        )
        batches = [(x.clone(), labels.clone()) for x, labels in loader]
    return np.concatenate([x.numpy() for x, _ in batches]), np.concatenate([y.numpy()[:, 0] for _, y in batches])


def squares(root, part="train"):
    """The middle of every image of the folders, resized to 32 pixels by PIL."""
    pixels = []
    for path in sorted((root / part).glob("*/*"), key=lambda path: (path.parent.name, str(path))):
        image = Image.open(path).convert("RGB")
        side, (w, h) = min(image.size), image.size
        corner = (w - side) // 2, (h - side) // 2
        box = (*corner, corner[0] + side, corner[1] + side)
        pixels.append(np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR, box)).transpose(2, 0, 1))
    return np.stack(pixels).astype(float)


@pytest.mark.parametrize("options", [["--store", "mixed"], ["--max-side", "48"]])
def test_ffcvs_own_loader_reads_every_image_with_its_label(root, options):
    main([str(root), "--workers", "2", *options])
    for part, each in (("train", 6), ("val", 2)):
        pixels, labels = content(root, part)
        assert labels.tolist() == [0] * each + [1] * each + [2] * each
        assert np.abs(pixels - squares(root, part)).mean((1, 2, 3)).max() < 6
    images = open_beton(root / "train.beton").metadata["f0"]
    assert set(images["mode"].tolist()) == ({0, 1} if "mixed" in options else {0})
    assert max(images["width"].max(), images["height"].max()) == (48 if "--max-side" in options else 64)
    assert sorted(path.name for path in root.iterdir() if path.suffix != ".lock") == [
        "train",
        "train.beton",
        "val",
        "val.beton",
    ]


def test_writing_again_only_checks_and_other_workers_write_the_same_bytes(root, capsys, monkeypatch):
    main([str(root), "--workers", "2", "--parts", "train"])
    first = (root / "train.beton").read_bytes()
    monkeypatch.setattr("lth.datamodules.ffcv.write_beton._encode", None)
    main([str(root), "--workers", "1", "--parts", "train"])
    assert capsys.readouterr().out.count("18 images") == 2
    assert (root / "train.beton").read_bytes() == first


class Crash(BaseException):
    pass


def interrupted(root, monkeypatch, after, options):
    """A conversion that dies when the given number of images are encoded."""
    from lth.datamodules.ffcv import write_beton

    encoded, calls = write_beton._encode, []

    def fatal(*args, **options):
        calls.append(1)
        if len(calls) > after:
            raise Crash
        return encoded(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(write_beton, "_encode", fatal)
        with pytest.raises(Crash):
            main([str(root), *options])


@pytest.mark.parametrize("after", [1, 17])
@pytest.mark.parametrize("page", [1 << 14, 8 << 20])
def test_an_interrupted_conversion_goes_on_to_the_same_bytes(root, tmp_path, monkeypatch, after, page):
    monkeypatch.setattr(_partial_beton, "PAGE", page)
    options = ["--workers", "1", "--store", "mixed", "--parts", "train"]
    main([str(root), "--to", str(tmp_path / "whole"), *options])
    interrupted(root, monkeypatch, after, options)
    assert not (root / "train.beton").exists()
    kept = []
    monkeypatch.setattr(
        _partial_beton, "_place", lambda at, size, was=_partial_beton._place: kept.append(size) or was(at, size)
    )
    main([str(root), *options])
    assert len(kept) == 18 - after
    assert (root / "train.beton").read_bytes() == (tmp_path / "whole" / "train.beton").read_bytes()


@pytest.mark.parametrize("damage", ["pages cut", "records cut", "pages changed", "settings lost"])
def test_what_a_crash_left_half_written_is_written_again(root, tmp_path, monkeypatch, damage):
    options = ["--workers", "1", "--parts", "train"]
    main([str(root), "--to", str(tmp_path / "whole"), *options])
    interrupted(root, monkeypatch, 17, options)
    folder = root / "train.beton.partial"
    if damage == "settings lost":
        (folder / "settings.json").unlink()
    elif damage == "pages changed":
        with (folder / "pages").open("r+b") as file:
            file.seek(_partial_beton.PAGE + 5)
            file.write(b"\xff" * 20)
    else:
        file = folder / damage.split()[0]
        os.truncate(file, file.stat().st_size - 7)
    main([str(root), *options])
    assert (root / "train.beton").read_bytes() == (tmp_path / "whole" / "train.beton").read_bytes()


def test_other_settings_or_other_images_start_over(root, monkeypatch):
    interrupted(root, monkeypatch, 17, ["--workers", "1", "--parts", "train"])
    main([str(root), "--workers", "1", "--store", "raw", "--parts", "train"])
    assert set(open_beton(root / "train.beton").metadata["f0"]["mode"].tolist()) == {1}


def test_a_killed_conversion_goes_on(tmp_path):
    root = photographs.imagenet(tmp_path / "photos", train=150, val=2)
    command = [sys.executable, "-m", "lth.datamodules.ffcv.write_beton", str(root), "--workers", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    records = root / "train.beton.partial" / "records"
    while not (records.exists() and records.stat().st_size) and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not (root / "train.beton").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "450 images" in done.stdout
    assert int(done.stderr.split("train.beton: ")[1].split()[0]) > 0  # it resumed
    _verify(root / "train.beton", root / "train")


def test_a_damaged_photograph_stops_the_writing_and_is_named(root):
    path = sorted((root / "train").rglob("*.JPEG"))[9]
    whole = path.read_bytes()
    path.write_bytes(whole[:100])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        main([str(root), "--workers", "1"])
    assert not (root / "train.beton").exists()
    path.write_bytes(whole)
    main([str(root), "--workers", "1", "--parts", "train"])
    assert len(content(root)[1]) == 18


@pytest.mark.parametrize("damage", ["truncated", "header", "empty", "text"])
def test_a_damaged_file_is_named_before_training(root, damage):
    main([str(root), "--workers", "1", "--parts", "train"])
    path = root / "train.beton"
    whole = path.read_bytes()
    contents = {"truncated": whole[:-500], "header": b"\7" + whole[1:], "empty": b"", "text": b"hello" * 100}
    path.write_bytes(contents[damage])
    with pytest.raises(ValueError, match=r"train.beton is (not a .beton file, or )?damaged"):
        Beton(path, 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_image_damaged_after_writing_ends_the_pass_with_an_error_instead_of_waiting(root):
    import torch

    main([str(root), "--workers", "1", "--parts", "train"])
    path = root / "train.beton"
    at = int(open_beton(path).metadata["f0"]["data_ptr"][5])
    with path.open("r+b") as file:
        file.seek(at + 2)
        file.write(b"\0" * 300)
    beton = Beton(path, 1)
    with pytest.raises(ValueError, match=r"train.beton: an image cannot be decoded"):
        list(beton.read(torch.arange(18), whole_image, 16, 4))
    assert len(list(beton.read(torch.arange(4), whole_image, 16, 4))) == 1
    with pytest.raises(ValueError, match="an image cannot be decoded"):
        _verify(path, root / "train")


def test_a_file_of_other_images_is_not_taken_for_the_folders(root):
    main([str(root), "--workers", "1", "--parts", "train"])
    first, second = sorted((root / "train" / photographs.SYNSETS[0]).iterdir())[:2]
    for path in (first, second):
        path.write_bytes(photographs.jpeg(Image.new("RGB", (50, 50), (255, 0, 0))))
    with pytest.raises(ValueError, match=f"image 0 differs from .*{first.name}"):
        main([str(root), "--parts", "train"])
    second.unlink()
    with pytest.raises(ValueError, match="does not hold the images"):
        main([str(root), "--parts", "train"])


def test_an_image_larger_than_a_page_is_refused_with_what_helps(root, monkeypatch):
    monkeypatch.setattr(_partial_beton, "PAGE", 1 << 12)
    with pytest.raises(ValueError, match=r"an image of .* bytes; valid: up to 4096: give a smaller --max-side"):
        main([str(root), "--store", "raw", "--workers", "1"])


def test_parts_with_other_classes_and_a_second_writer_are_refused(root):
    from filelock import FileLock

    with FileLock(root / "train.beton.lock"), pytest.raises(ValueError, match="another process is writing"):
        main([str(root)])
    (root / "val" / photographs.SYNSETS[2]).rename(root / "val" / "n09999999")
    with pytest.raises(ValueError, match="train and val differ in the classes n02979186, n09999999"):
        main([str(root)])


@pytest.mark.parametrize("wrong", [["--raw-share", "50"], ["--quality", "0"], ["--max-side", "-1"], ["--workers", "0"]])
def test_senseless_values_leave_with_what_is_valid(root, wrong, capsys):
    with pytest.raises(SystemExit, match="2"):
        main([str(root), *wrong])
    assert "valid: --raw-share 0..1" in capsys.readouterr().err
