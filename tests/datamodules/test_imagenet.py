"""The loaders ffcv and torchvision give the same samples with the same crops, also after a pass that was abandoned."""

import threading
from collections import Counter
from dataclasses import replace
from itertools import islice

import pytest
import torch

from lth.datamodules import ImageNet
from lth.datamodules.ffcv import _beton as beton_module
from lth.datamodules.ffcv.write_beton import main as write_beton
from tests.support import photographs

SHAPE = {"classes": 3, "channels": 3, "image_size": 32, "scale": 255, "mean": [0.5] * 3, "std": [0.25] * 3}
NO_AUGMENTATION = {"scale": [1.0, 1.0], "ratio": [0.999, 1.001], "flip": False}
LOADERS = [pytest.param("ffcv", marks=pytest.mark.engine), "torchvision"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """60 training and 18 test photographs of 3 classes, as folders; `opened` adds .beton files when FFCV reads them."""
    return photographs.imagenet(tmp_path_factory.mktemp("imagenet"))


@pytest.fixture
def opened(root):
    """Makes the dataset with keys as in its configuration, read and ready."""

    def make(loader, **keys):
        if loader == "ffcv":
            pytest.importorskip("ffcv", reason="FFCV is not installed: make ffcv")
            if not (root / "train.beton").exists():
                write_beton([str(root), "--workers", "1"])
        usual = {**SHAPE, "root": str(root), "workers": int(loader == "ffcv"), "batch_size": 16, "eval_batch_size": 7}
        data = ImageNet(loader=loader, **{**usual, **keys})
        data.prepare_data()
        data.setup()
        return data

    return make


def epoch_of(data, epoch):
    given = data.train_dataloader()
    given.set_epoch(epoch)
    return list(given)


def equal(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_the_same_key_gives_the_same_bits_and_another_key_others(opened, loader):
    data = opened(loader, seed=3)
    first = epoch_of(data, 1)
    assert equal(first, epoch_of(opened(loader, seed=3), 1))
    assert equal(first, epoch_of(data, 1))
    assert not equal(first, epoch_of(data, 2))
    assert not equal(first, epoch_of(opened(loader, seed=4), 1))
    data.level = 1
    assert not equal(first, epoch_of(data, 1))
    data.sampling = replace(data.sampling, order="same")
    data.level = 0
    assert equal(first, epoch_of(data, 1))


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_an_epoch_shows_every_training_photograph_once(opened, samples, loader):
    data = opened(loader, val_size=10, augment=NO_AUGMENTATION, centre=1.0)
    kept, held = samples(data.scoring_batches(0)), samples(data.val_dataloader())
    assert (len(set(kept)), len(set(held))) == (50, 10) == (data.train_size, 10)
    assert not set(kept) & set(held)
    assert Counter(y for _, y in samples(data.train_dataloader())) == Counter(y for _, y in kept)
    assert len(data.train_dataloader()) == data.steps_per_epoch == 4


@pytest.mark.engine
def test_both_loaders_show_the_same_samples_and_pixels_differ_by_rounding_alone(opened):
    ffcv, torchvision = (opened(loader, val_size=10, seed=1) for loader in ("ffcv", "torchvision"))
    for part in ("train", "val", "test"):
        one, other = (getattr(data, f"{part}_dataloader")() for data in (ffcv, torchvision))
        assert len(one) == len(other)
        for (x, labels), (x_other, labels_other) in zip(one, other, strict=True):
            assert torch.equal(labels, labels_other)
            # in units of the normalised pixel: 0.25 is 1/16 of full scale
            assert (x - x_other).abs().mean() < 0.05
            assert (x.mean((0, 2, 3)) - x_other.mean((0, 2, 3))).abs().max() < 0.05
            assert (x.std((0, 2, 3)) / x_other.std((0, 2, 3)) - 1).abs().max() < 0.03
            assert (x.flip(-1) - x_other).abs().mean() > 0.1  # so small a difference would not come by chance
    assert torch.equal(ffcv.per_class(2, "x")[1], torchvision.per_class(2, "x")[1])


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_out_every_batch_of_the_single_process(opened, on_rank, samples, world, loader):
    alone = epoch_of(opened(loader), 1)
    ranks = [epoch_of(on_rank(opened(loader), rank, world, epoch=1), 1) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {4}
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert samples([whole]) == samples(parts)
    tested = [list(on_rank(opened(loader), rank, world).test_dataloader()) for rank in range(world)]
    assert sorted(s for batches in tested for s in samples(batches)) == samples(opened(loader).test_dataloader())


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("given_before", [0, 1, 3, 4])
def test_a_loader_resumes_behind_the_batches_already_given(opened, loader, given_before):
    data = opened(loader)
    killed, resumed = data.train_dataloader(), data.train_dataloader()
    killed.set_epoch(2)
    first = list(islice(killed, given_before))
    resumed.load_state_dict(killed.state_dict())
    resumed.set_epoch(2)
    assert equal(first + list(resumed), epoch_of(data, 2))


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_batches_that_are_kept_do_not_change(opened, loader):
    data = opened(loader, batch_size=4)
    given = data.train_dataloader()
    kept, copies = [], []
    for x, labels in given:
        kept.append((x, labels))
        copies.append((x.clone(), labels.clone()))
    assert len(kept) == 15
    assert equal(kept, copies)
    assert equal(list(islice(data.scoring_batches(1), 9)), list(data.scoring_batches(1))[:9])


@pytest.mark.engine
@pytest.mark.parametrize("taken", [0, 1, 5, 15])
def test_a_pass_that_is_given_up_leaves_no_thread(opened, taken):
    data = opened("ffcv", batch_size=4)
    before = threading.active_count()
    for _ in range(3):
        given = iter(data.train_dataloader())
        list(islice(given, taken))
        del given
    assert threading.active_count() == before
    assert equal(epoch_of(data, 0), epoch_of(opened("ffcv", batch_size=4), 0))


@pytest.mark.engine
def test_two_passes_at_a_time_do_not_disturb_each_other(opened):
    data = opened("ffcv", batch_size=6)
    expected = epoch_of(data, 0), list(data.val_dataloader() or data.test_dataloader())
    together = list(zip(data.train_dataloader(), data.test_dataloader(), strict=False))
    assert equal([batch for batch, _ in together], expected[0][: len(together)])
    assert equal([batch for _, batch in together], expected[1][: len(together)])


@pytest.mark.engine
@pytest.mark.filterwarnings("error")  # numba says by a warning that it runs the threads' loop in one
@pytest.mark.parametrize("workers", [1, 2])
def test_ffcv_leaves_torch_its_number_of_threads_and_random_numbers(opened, workers):
    pytest.importorskip("ffcv", reason="FFCV is not installed: make ffcv")
    if workers > beton_module.max_threads():
        pytest.skip("one core")
    before = torch.get_num_threads()
    data, one = opened("ffcv", workers=workers), opened("ffcv")
    assert equal(epoch_of(data, 0), epoch_of(one, 0))
    torch.manual_seed(0)
    for _ in data.train_dataloader():
        assert torch.get_num_threads() == before
    assert torch.initial_seed() == 0
    drawn = torch.rand(1)
    assert torch.equal(drawn, torch.rand(1, generator=torch.Generator().manual_seed(0)))


@pytest.mark.slow
def test_worker_processes_give_the_same_batches_and_draw_no_random_number(opened):
    torch.manual_seed(0)
    several = epoch_of(opened("torchvision", workers=2), 1)
    drawn = torch.rand(1)
    assert torch.equal(drawn, torch.rand(1, generator=torch.Generator().manual_seed(0)))
    assert equal(several, epoch_of(opened("torchvision"), 1))


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_resolution_grows_with_the_epoch_and_evaluation_keeps_its_own(opened, loader):
    data = opened(loader, augment={"sizes": [[0, 16], [1, 24]]})
    assert [epoch_of(data, epoch)[0][0].shape[-1] for epoch in (0, 1, 2)] == [16, 24, 24]
    assert next(iter(data.test_dataloader()))[0].shape[-1] == 32
    assert next(data.scoring_batches(0))[0].shape == (16, 3, 32, 32)


@pytest.mark.slow
@pytest.mark.parametrize("loader", LOADERS)
def test_scoring_follows_its_seed_and_per_class_gives_every_class_equally_often(opened, on_rank, loader):
    data = opened(loader, val_size=10)
    assert equal(
        list(data.scoring_batches(1)), list(on_rank(opened(loader, val_size=10, seed=7), 1, 2).scoring_batches(1))
    )
    assert not equal(list(data.scoring_batches(1)), list(data.scoring_batches(2)))
    x, labels = data.per_class(4, "a")
    assert x.shape == (12, 3, 32, 32)
    assert Counter(labels.tolist()) == {0: 4, 1: 4, 2: 4}


@pytest.mark.slow
def test_a_horizontal_flip_is_a_mirrored_image(opened):
    never, ever = (opened("torchvision", augment={**NO_AUGMENTATION, "flip": flip}) for flip in (False, "alternating"))
    first, second = epoch_of(ever, 0), epoch_of(ever, 1)
    plain = {round(x.double().sum().item() * 1e3): x for xs, _ in epoch_of(never, 0) for x in xs}
    turned = [(xs, "first") for xs, _ in first] + [(xs, "second") for xs, _ in second]
    mirrored = {"first": 0, "second": 0}
    for xs, which in turned:
        for x in xs:
            one = plain[round(x.double().sum().item() * 1e3)]
            assert torch.equal(x, one) or torch.equal(x, one.flip(-1))
            mirrored[which] += not torch.equal(x, one)
    assert mirrored["first"] + mirrored["second"] == 60  # the other way in the next epoch, every image


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"loader": "dali"}, "loader='dali'; valid: ffcv, torchvision"),
        ({"workers": -1}, "workers=-1; valid: 0 or more"),
        ({"centre": 87.5}, "centre=87.5; valid: over 0 and up to 1"),
        ({"channels": 1}, "channels=1; valid: 3"),
        ({"classes": 4}, "dataset.classes=4, but .* has 3; valid: 3"),
        ({"batch_size": 70, "drop_last": True}, "batch_size=70 with drop_last leaves no batch; valid: 1..60"),
    ],
)
def test_senseless_values_are_refused_with_what_is_valid(opened, keys, message):
    with pytest.raises(ValueError, match=message):
        opened(**{"loader": "torchvision", **keys})


@pytest.mark.engine
def test_missing_files_are_named_with_what_makes_them(opened, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"train.beton is missing; .*write_beton .*dataset.loader=torchvision"):
        opened("ffcv", root=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="train is missing; it should hold one folder of images"):
        opened("torchvision", root=str(tmp_path))


@pytest.mark.engine
def test_a_missing_ffcv_names_the_extra(opened, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ffcv.loader", None)
    with pytest.raises(ImportError, match=r"libturbojpeg0-dev .*make ffcv.*lth\[ffcv\].*dataset.loader=torchvision"):
        opened("ffcv")


def test_parts_that_differ_in_their_classes_are_refused(tmp_path, opened):
    photographs.imagenet(tmp_path, train=2, val=2)
    (tmp_path / "val" / photographs.SYNSETS[0]).rename(tmp_path / "val" / "n09999999")
    with pytest.raises(ValueError, match="train and val differ in the classes n01440764, n09999999"):
        opened("torchvision", root=str(tmp_path))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_photograph_is_named(tmp_path, opened, workers):
    photographs.imagenet(tmp_path, train=2, val=2)
    path = sorted((tmp_path / "train").rglob("*.JPEG"))[3]
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=f"{path.name} is damaged"):
        list(opened("torchvision", root=str(tmp_path), workers=workers).train_dataloader())
