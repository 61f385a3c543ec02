"""Validation samples are drawn by their own seed and not augmented; invalid keys are refused before training."""

import ast
from collections import Counter
from pathlib import Path

import pytest
import torch

import lth.datamodules
from lth.datamodules import Arrays, Synthetic

AUGMENT = {"crop": 3, "flip": "alternating", "cutout": 4}
SHAPE = {"classes": 3, "channels": 1, "image_size": 4, "scale": 255, "mean": 0.0, "std": 1.0}


def bits(batches):
    return b"".join(tensor.numpy().tobytes() for batch in batches for tensor in batch)


def test_training_and_validation_share_no_sample_and_miss_none(made, samples):
    whole, data = samples(made().scoring_batches(0)), made(val_size=20)
    kept, held = samples(data.scoring_batches(0)), samples(data.val_dataloader())
    assert (len(kept), len(held)) == (50, 20) == (data.train_size, 20)
    assert sorted(kept + held) == whole


def test_the_split_follows_its_own_seed_and_no_other(made, samples):
    def validation(**keys):
        return samples(made(val_size=20, **keys).val_dataloader())

    assert validation(seed=0) == validation(seed=1, batch_size=4, augment=AUGMENT, eval_batch_size=3)
    assert validation(split_seed=0) != validation(split_seed=1)


def test_a_fraction_and_a_count_hold_out_alike(made):
    assert made(val_size=0.2).train_size == made(val_size=14).train_size == 56


def test_without_validation_there_is_no_validation_loader(made):
    assert made(val_size=0).val_dataloader() == []


def test_validation_test_and_scoring_samples_are_never_augmented(made):
    plain, augmented = made(val_size=20), made(val_size=20, augment=AUGMENT)
    assert bits(plain.val_dataloader()) == bits(augmented.val_dataloader())
    assert bits(plain.test_dataloader()) == bits(augmented.test_dataloader())
    assert bits(plain.scoring_batches(1)) == bits(augmented.scoring_batches(1))
    assert bits([plain.per_class(2, 1)]) == bits([augmented.per_class(2, 1)])
    assert bits(plain.train_dataloader()) != bits(augmented.train_dataloader())


def test_no_test_image_is_trained_on_and_test_comes_in_its_own_order(made, samples):
    data = made(val_size=20)
    seen = {x for x, _ in samples(data.train_dataloader()) + samples(data.val_dataloader())}
    assert not seen & {x for x, _ in samples(data.test_dataloader())}
    assert torch.equal(torch.cat([y for _, y in data.test_dataloader()]), data.read(None)[3])


def test_order_same_repeats_the_first_level_in_every_level(made):
    data = made(augment=AUGMENT, order="same")
    first = bits(data.train_dataloader())
    data.level = 4
    assert bits(data.train_dataloader()) == first == bits(made(augment=AUGMENT).train_dataloader())


def test_scoring_batches_follow_their_seed_alone_and_are_equal_on_all_ranks(made, on_rank):
    first = bits(made().scoring_batches(seed=1, batch_size=10))
    assert first == bits(on_rank(made(seed=7), 3, 4).scoring_batches(seed=1, batch_size=10))
    assert first != bits(made().scoring_batches(seed=2, batch_size=10))
    assert [len(y) for _, y in made().scoring_batches(1)] == [16, 16, 16, 16, 6]


def test_per_class_gives_every_class_equally_often_and_mixed(made, on_rank, samples):
    x, y = made().per_class(6, seed=1)
    assert Counter(y.tolist()) == dict.fromkeys(range(5), 6)
    assert y.tolist() != sorted(y.tolist())
    assert len(set(samples([(x, y)]))) == 30
    assert set(samples([(x, y)])) <= set(samples(made().scoring_batches(0)))
    assert bits([(x, y)]) == bits([on_rank(made(), 1, 2).per_class(6, seed=1)])
    assert bits([(x, y)]) != bits([made().per_class(6, seed=2)])


@pytest.mark.parametrize("k", [0, 15])
def test_per_class_names_the_class_that_has_too_few(made, k):
    with pytest.raises(ValueError, match=rf"samples_per_class={k}: class 0 has 14 training samples; valid: 1..14"):
        made().per_class(k, seed=0)


def test_the_data_are_read_once_and_stay_where_they_are(made, monkeypatch):
    data = made()
    where = data.train_dataloader().images.data_ptr()
    monkeypatch.setattr(Synthetic, "read", None)
    data.prepare_data()
    data.setup("test")
    data.level = 1
    assert data.train_dataloader().images.data_ptr() == where


def test_sizes_before_reading_are_an_error_that_says_what_to_call():
    with pytest.raises(RuntimeError, match=r"prepare_data\(\) and setup\(\)"):
        _ = Synthetic(**SHAPE).steps_per_epoch


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"val_size": 10.5}, "val_size=10.5; valid: a count"),
        ({"val_size": 1.0}, "val_size=1.0; valid: a count"),
        ({"val_size": -1}, "val_size=-1; valid: a count"),
        ({"val_size": True}, "val_size=True; valid: a count"),
        ({"val_size": 70}, r"val_size=70 leaves nothing to train on; valid: 0..69"),
        ({"batch_size": 0}, "batch_size=0; valid: 1 or more"),
        ({"eval_batch_size": -3}, "eval_batch_size=-3; valid: 1 or more"),
        ({"batch_size": 71, "drop_last": True}, r"batch_size=71 with drop_last leaves no batch; valid: 1..70"),
        ({"order": "fixed"}, "order='fixed'; valid: per_level, same"),
        ({"standardise": "image"}, "standardise='image'; valid: null, channel, pixel"),
        ({"mean": None}, "mean is null"),
        ({"mean": [0.1, 0.2]}, "mean=.* has 2 numbers; valid: one number or 3"),
        ({"std": 0.0}, "std=.*; valid: over 0"),
        ({"augment": {"crop": 8}}, r"augment.crop=8 .*valid: 0..7"),
        ({"augment": {"crops": 2}}, "augment keys .*crops.*valid: crop, crop_mode, flip, cutout"),
        ({"noise": -1}, "noise=-1; valid: 0 or more"),
        ({"train_size": 0}, "train_size=0"),
    ],
)
def test_senseless_values_are_refused_with_what_is_valid(made, keys, message):
    with pytest.raises(ValueError, match=message):
        made(**keys)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((6, 1, 4, 5), [0, 1, 2, 0, 1, 2], r"training images are \(1, 4, 5\); .* say \(1, 4, 4\)"),
        ((6, 3, 4, 4), [0, 1, 2, 0, 1, 2], r"training images are \(3, 4, 4\)"),
        ((6, 1, 4, 4), [0, 1, 2, 0, 1, 3], r"training label 3; valid with classes=3: 0..2"),
        ((6, 1, 4, 4), [0, 1, 2, 0, 1, -1], r"training label -1"),
        ((6, 1, 4, 4), [0, 1, 2], "6 training images but 3 labels"),
    ],
)
def test_data_that_contradict_the_configuration_are_refused(images, labels, message):
    class Read(Arrays):
        def read(self, root):
            x, y = torch.zeros(images, dtype=torch.uint8), torch.tensor(labels)
            return x, y, x, y

    with pytest.raises(ValueError, match=message):
        Read(**SHAPE).setup()


@pytest.mark.parametrize(
    ("read", "kinds"),
    [
        (lambda x, y: (x, y), "torch.uint8, torch.int64"),
        (lambda x, y: x, "torch.uint8"),
        (lambda x, y: (x.numpy(), y, x, y), "ndarray, torch.int64, torch.uint8, torch.int64"),
        (lambda x, y: (x.double(), y, x, y), "torch.float64, torch.int64, torch.uint8, torch.int64"),
        (lambda x, y: (x, y, x, y.int()), "torch.uint8, torch.int64, torch.uint8, torch.int32"),
    ],
)
def test_what_is_read_must_be_four_tensors_of_the_right_kind(read, kinds):
    class Read(Arrays):
        def read(self, root):
            return read(torch.zeros((6, 1, 4, 4), dtype=torch.uint8), torch.tensor([0, 1, 2, 0, 1, 2]))

    with pytest.raises(ValueError, match=rf"^Read.read returned {kinds}; it must return four tensors"):
        Read(**SHAPE).setup()


def test_without_mean_and_std_each_channel_is_standardised(made):
    x = torch.cat([x for x, _ in made(mean=None, std=None).scoring_batches(0)]).double()
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    assert (x.std((0, 2, 3)) - 1).abs().max() < 1e-3


def test_float_images_are_as_good_as_bytes(made):
    class Floats(Synthetic):
        def read(self, root):
            x, y, test_x, test_y = super().read(root)
            return x.float(), y, test_x.float(), test_y

    data = Floats(classes=5, channels=3, image_size=8, scale=255, train_size=70, test_size=21)
    data.setup()
    (floats, labels), (x, y) = (d.per_class(2, 0) for d in (data, made(mean=None, std=None)))
    assert torch.equal(labels, y)
    assert torch.equal(floats, x)


def test_standardisation_uses_the_training_part_alone(made):
    data = made(val_size=30, standardise="channel", mean=None, std=None)
    x = torch.cat([x for x, _ in data.scoring_batches(0)]).double()
    assert x.mean((0, 2, 3)).abs().max() < 1e-5
    held = torch.cat([x for x, _ in data.val_dataloader()]).double()
    assert held.mean((0, 2, 3)).abs().max() > 1e-5


@pytest.mark.parametrize("file", sorted(Path(lth.datamodules.__file__).parent.glob("*.py")), ids=lambda f: f.stem)
def test_optional_libraries_are_imported_where_they_are_used(file):
    top = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in top if isinstance(node, ast.ImportFrom)}
    assert not {name.split(".")[0] for name in names} & {"torchvision", "sklearn", "scipy", "hydra", "omegaconf"}
