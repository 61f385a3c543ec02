"""What is remembered of dense gradients: read only when needed, averaged as said, free of what was not finite."""

import pytest
import torch

from lth.pruning.topology.memory import MeanOfLast, Memory, Momentum


def gradient(step: int) -> dict[str, torch.Tensor]:
    return {"a": torch.tensor([1.0, -2.0]) * step, "b": torch.tensor([[0.5]]) * step**2}


class Source:
    """Gradients of a step, and how often they were read."""

    def __init__(self):
        self.reads = 0

    def at(self, step: int):
        def read():
            self.reads += 1
            return gradient(step)

        return read


def test_the_last_gradient_is_read_at_an_update_and_at_no_other_step():
    memory, source = Memory(), Source()
    for step in range(1, 9):
        memory.take(source.at(step), until=-step % 4)
        if step % 4 == 0:
            assert torch.equal(memory.read()["a"], gradient(step)["a"])
            memory.forget()
    assert source.reads == 2
    assert memory.read() == {}


def test_the_last_gradient_is_a_copy():
    memory, held = Memory(), gradient(1)
    memory.take(lambda: held, 0)
    held["a"].zero_()
    assert memory.read()["a"].all()


def test_the_mean_is_over_the_last_steps_before_the_update_and_starts_anew_after_it():
    memory, source = MeanOfLast(3), Source()
    for step in range(1, 13):
        memory.take(source.at(step), until=-step % 6)
        if step % 6 == 0:
            expected = torch.stack([gradient(s)["b"] for s in (step - 2, step - 1, step)]).mean(0)
            assert torch.allclose(memory.read()["b"], expected)
            memory.forget()
    assert source.reads == 6


def test_where_updates_are_closer_the_mean_is_over_the_steps_between_them():
    memory = MeanOfLast(8)
    for step in range(1, 9):
        memory.take(lambda step=step: gradient(step), until=-step % 4)
        if step == 6:  # as a checkpoint within the interval
            again = MeanOfLast(8)
            again.load_state_dict(memory.state_dict())
            memory = again
        if step % 4 == 0:
            expected = torch.stack([gradient(s)["b"] for s in range(step - 3, step + 1)]).mean(0)
            torch.testing.assert_close(memory.read()["b"], expected)
            memory.forget()


def test_the_momentum_is_an_exponential_average_that_goes_on_after_updates():
    memory, expected = Momentum(0.8), torch.zeros(2)
    for step in range(1, 9):
        memory.take(lambda step=step: gradient(step), until=-step % 4)
        expected = 0.8 * expected + 0.2 * gradient(step)["a"]
        if step % 4 == 0:
            memory.forget()
    assert torch.allclose(memory.read()["a"], expected)


@pytest.mark.parametrize("memory", [Memory(), MeanOfLast(2), Momentum(0.5)], ids=lambda m: type(m).__name__)
def test_an_update_left_out_for_an_inf_leaves_none_for_the_next(memory: Memory):
    memory.take(lambda: {"a": torch.tensor([torch.inf, 1.0])}, 0)
    memory.forget(spoiled=True)
    memory.take(lambda: {"a": torch.tensor([3.0, 1.0])}, 0)
    assert torch.isfinite(memory.read()["a"]).all()


@pytest.mark.parametrize("kind", [Memory, MeanOfLast, Momentum])
def test_a_memory_saved_and_restored_goes_on_the_same(kind):
    whole, half = kind(), kind()
    for step in (1, 2):
        whole.take(lambda step=step: gradient(step), 0)
        half.take(lambda step=step: gradient(step), 0)
    again = kind()
    again.load_state_dict(half.state_dict())
    for memory in (whole, again):
        memory.take(lambda: gradient(3), 0)
    assert all(torch.equal(again.read()[name], value) for name, value in whole.read().items())


def test_memories_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="steps 0 must be 1 or more"):
        MeanOfLast(0)
    for decay in (-0.1, 1.0):
        with pytest.raises(ValueError, match="must be at least 0 and under 1"):
            Momentum(decay)
