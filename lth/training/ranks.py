"""Communication between the ranks of a distributed run; with one process all of it is a no-op."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from lth.pruning.masks import Masks, fingerprint


def distributed() -> bool:
    """Whether several processes train together."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def sum_over_ranks(tensor: Tensor) -> Tensor:
    """The sum of `tensor` over all ranks."""
    if distributed():
        tensor = tensor.clone()
        dist.all_reduce(tensor)
    return tensor


@torch.no_grad()
def broadcast_(tensors: list[Tensor]) -> None:
    """Overwrite `tensors` with those of rank 0, in place."""
    if distributed():
        for tensor in tensors:
            dist.broadcast(tensor, src=0)


def assert_same(what: str, digest: str) -> None:
    """Assert that all ranks have the same `digest` of `what`; otherwise they would train different networks."""
    if distributed():
        digests: list[str] = [""] * dist.get_world_size()
        dist.all_gather_object(digests, digest)
        assert len(set(digests)) == 1, f"{what} differ between ranks: {digests}"


def assert_same_training(when: str, module: nn.Module, masks: Masks) -> None:
    """Assert that all ranks have the same parameters of `module` and the same masks. when: for the error message."""
    if distributed():
        assert_same(f"weights {when}", fingerprint(dict(module.named_parameters())))
        assert_same(f"masks {when}", masks.digest())
