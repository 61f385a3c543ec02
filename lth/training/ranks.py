"""Communication between the ranks of a distributed run; with one process all of it is a no-op."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lth.pruning.masks import Masks, fingerprint


def _distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks."""
    if _distributed():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def broadcast_(tensors: list[Tensor]) -> None:
    """Overwrite `tensors` with those of rank 0, in place."""
    if _distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def assert_same(what: str, digest: str) -> None:
    """Assert that all ranks have the same `digest` of `what`; otherwise they would train different networks."""
    if _distributed():
        digests: list[str] = [""] * dist.get_world_size()
        dist.all_gather_object(digests, digest)
        assert len(set(digests)) == 1, f"{what} differ between ranks: {digests}"


def assert_same_training(when: str, module: nn.Module, masks: Masks, buffers: nn.Module | None = None) -> None:
    """Assert that all ranks have the same parameters and masks; a no-op with one process.

    when: moment of the check, for the error message
    module: module whose parameters are compared
    masks: masks that are compared
    buffers: module whose buffers (batch-norm statistics) are compared too; None = not compared, as after training
    """
    if _distributed():
        assert_same(f"weights {when}", fingerprint(dict(module.named_parameters())))
        assert_same(f"masks {when}", masks.digest())
        if buffers is not None:
            assert_same(f"buffers {when}", fingerprint(dict(buffers.named_buffers())))
