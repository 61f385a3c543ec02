"""Independent random streams named by keys, so that no draw depends on what was drawn before it."""

import hashlib

import torch


def derive(*key: int | str) -> int:
    """A 63-bit seed for the stream named by `key`, e.g. `derive("order", seed, level, epoch)`.

    The seed is a hash of the key. A product would give seed 21 of trial 2 and seed 42 of trial 1 the same stream.
    """
    digest = hashlib.blake2b(repr(key).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """A CPU generator for the stream named by `key`: the same draws on every device, rank and precision."""
    return torch.Generator().manual_seed(derive(*key))
