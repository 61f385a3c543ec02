"""The samples of an epoch do not depend on batch size, number of ranks or earlier passes."""

import math
from itertools import islice

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

AUGMENT = {"crop": 2, "flip": "random", "cutout": 3}


def epoch_of(data, epoch):
    given = data.train_dataloader()
    given.set_epoch(epoch)
    return list(given)


def equal(one, other):
    return len(one) == len(other) and all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_the_same_key_gives_the_same_bits_and_another_key_others(made):
    data = made(augment=AUGMENT, seed=3)
    first = epoch_of(data, 1)
    assert equal(first, epoch_of(made(augment=AUGMENT, seed=3), 1))
    assert not equal(first, epoch_of(data, 2))
    assert not equal(first, epoch_of(made(augment=AUGMENT, seed=4), 1))
    data.level = 1
    assert not equal(first, epoch_of(data, 1))


def test_batches_are_what_augmenting_image_by_image_gives(made):
    data = made(augment=AUGMENT, train_size=20, batch_size=7)
    given = data.train_dataloader()
    draws, images = given.draw(0), data.read(None)[0]
    xs = torch.cat([x for x, _ in given])
    mean, std = 0.4, torch.tensor([0.2, 0.3, 0.4]).view(3, 1, 1)
    for x, i in zip(xs, draws.order, strict=True):
        down, right = draws.offsets[i]
        padded = torch.zeros(3, 12, 12)
        padded[:, 2:10, 2:10] = images[i]
        expected = padded[:, down : down + 8, right : right + 8]
        expected = expected.flip(-1) if draws.flips[i] else expected
        expected = (expected / 255 - mean) / std
        top, left = (draws.centres[i] - 1).tolist()
        expected[:, max(top, 0) : top + 3, max(left, 0) : left + 3] = 0
        torch.testing.assert_close(x, expected, rtol=1e-4, atol=1e-5)


def test_an_epoch_shows_every_training_sample_once(made, samples):
    data = made()
    assert samples(data.train_dataloader()) == samples(data.scoring_batches(seed=0))
    assert len(set(samples(data.train_dataloader()))) == data.train_size == 70


@pytest.mark.parametrize("batch_size", [1, 7, 70, 1000])
def test_the_samples_of_an_epoch_do_not_depend_on_the_batch_size(made, samples, batch_size):
    assert samples(epoch_of(made(augment=AUGMENT, batch_size=batch_size), 2)) == samples(
        epoch_of(made(augment=AUGMENT), 2)
    )


@pytest.mark.parametrize("world", [2, 4])
def test_ranks_share_out_every_batch_of_the_single_process(made, on_rank, samples, world):
    alone = epoch_of(made(augment=AUGMENT), 1)
    ranks = [epoch_of(on_rank(made(augment=AUGMENT), rank, world, epoch=1), 1) for rank in range(world)]
    assert {len(batches) for batches in ranks} == {len(alone)} == {5}
    for whole, *parts in zip(alone, *ranks, strict=True):
        assert samples([whole]) == samples(parts)
        assert max(len(y) for _, y in parts) - min(len(y) for _, y in parts) <= 1


def test_a_last_batch_too_small_for_the_ranks_is_left_out_on_all(made, on_rank):
    ranks = [epoch_of(on_rank(made(train_size=67), rank, 4), 0) for rank in range(4)]
    assert [len(batches) for batches in ranks] == [4] * 4
    assert on_rank(made(train_size=67), 0, 4).steps_per_epoch == 4
    assert made(train_size=67).steps_per_epoch == 5


def test_a_batch_size_that_ranks_cannot_share_is_refused(made, on_rank):
    with pytest.raises(ValueError, match="batch_size=16 is global; it must be a multiple of the 3 ranks"):
        on_rank(made(), 0, 3).train_dataloader()
    with pytest.raises(ValueError, match="3 training samples make no batch of 16 for 4 ranks"):
        on_rank(made(train_size=3), 0, 4).train_dataloader()


@pytest.mark.parametrize("count", range(4, 13))
def test_drop_last_drops_only_the_incomplete_batch(made, count):
    data = made(train_size=count, batch_size=4, drop_last=True)
    assert [len(y) for _, y in data.train_dataloader()] == [4] * (count // 4)
    assert data.steps_per_epoch == len(data.train_dataloader()) == count // 4
    data = made(train_size=count, batch_size=4)
    assert [len(y) for _, y in data.train_dataloader()] == [4] * (count // 4) + [count % 4] * (count % 4 > 0)
    assert data.steps_per_epoch == len(data.train_dataloader()) == math.ceil(count / 4)


def test_epoch_3_does_not_depend_on_having_iterated_epochs_0_to_2(made):
    given = made(augment=AUGMENT).train_dataloader()
    for epoch in range(4):
        given.set_epoch(epoch)
        last = list(given)
    assert equal(last, epoch_of(made(augment=AUGMENT), 3))


def test_an_abandoned_pass_leaves_no_trace(made):
    given = made(augment=AUGMENT).train_dataloader()
    next(iter(given))
    iter(given)
    assert equal(list(given), epoch_of(made(augment=AUGMENT), 0))


@pytest.mark.parametrize("given_before", [0, 1, 4, 5])
def test_a_loader_resumes_behind_the_batches_already_given(made, given_before):
    killed, resumed = (made(augment=AUGMENT).train_dataloader() for _ in range(2))
    killed.set_epoch(2)
    first = list(islice(killed, given_before))
    assert killed.state_dict() == {"epoch": 2, "position": given_before}  # the batches returned so far
    resumed.load_state_dict(killed.state_dict())
    resumed.set_epoch(2)
    iter(resumed)  # Lightning calls iter() without taking a batch
    assert equal(first + list(resumed), epoch_of(made(augment=AUGMENT), 2))
    assert equal(list(resumed), epoch_of(made(augment=AUGMENT), 2))  # the second pass is complete
    resumed.set_epoch(3)
    assert equal(list(resumed), epoch_of(made(augment=AUGMENT), 3))


def test_evaluation_ranks_see_each_sample_once(made, on_rank, samples):
    whole = samples(made(eval_batch_size=4).test_dataloader())
    ranks = [list(on_rank(made(eval_batch_size=4), rank, 4).test_dataloader()) for rank in range(4)]
    assert sorted(sample for batches in ranks for sample in samples(batches)) == whole
    assert len(whole) == 21
    assert all(1 <= len(y) <= 4 for batches in ranks for _, y in batches)
    with pytest.raises(ValueError, match="3 samples to evaluate on 4 ranks"):
        on_rank(made(test_size=3), 0, 4).test_dataloader()


def test_every_loader_is_as_long_as_it_says(made):
    data = made(val_size=9, eval_batch_size=4)
    for given in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        assert len(given) == len(list(given))


class Operations(TorchDispatchMode):
    """Counts the operations torch dispatches, by name."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        self.names.append(operation.overloadpacket.__name__)
        return operation(*args, **(kwargs or {}))


def test_a_batch_reads_no_value_from_the_device_and_takes_as_many_operations_at_any_size(made):
    counts = []
    for batch_size in (4, 32):
        given = iter(made(augment=AUGMENT, batch_size=batch_size).train_dataloader())
        next(given)  # the epoch's random numbers go to the device before its first batch
        with Operations() as operations:
            next(given)
        assert not {"_local_scalar_dense", "nonzero", "_to_copy", "copy_"} & set(operations.names)
        counts.append(len(operations.names))
    assert counts[0] == counts[1]
