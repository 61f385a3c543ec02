"""Training, validation and test samples: checks of what was read, and the random splits."""

from typing import Any

import torch
from torch import Tensor

from lth.pruning.seeds import generator


def check_parts(read: Any, by: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Check what `Arrays.read` returned. Raises ValueError unless it is four tensors of types that a network takes.

    by: name of the method that returned it, for the message
    """
    parts: Any = tuple(read) if isinstance(read, list | tuple) else (read,)
    if len(parts) == 4 and all(map(torch.is_tensor, parts)):
        images, labels = parts[0::2], parts[1::2]
        as_float = {torch.promote_types(x.dtype, torch.float32) for x in images}
        if as_float == {torch.float32} and {y.dtype for y in labels} == {torch.int64}:
            return parts
    kinds = ", ".join(str(part.dtype) if torch.is_tensor(part) else type(part).__name__ for part in parts)
    raise ValueError(
        f"{by} returned {kinds}; it must return four tensors: training images (torch.uint8 or torch.float32) and "
        "labels (torch.int64), test images and labels"
    )


def check(name: str, images: Tensor, labels: Tensor, shape: tuple[int, int, int], classes: int) -> None:
    """Raise ValueError if images or labels contradict the configuration.

    name: training or test, for the message
    images, labels: (N, C, H, W) and (N,)
    shape: (C, H, W) that channels and image_size require
    """
    if tuple(images.shape[1:]) != shape:
        raise ValueError(f"{name} images are {tuple(images.shape[1:])}; channels and image_size say {shape}")
    if len(images) != len(labels):
        raise ValueError(f"{len(images)} {name} images but {len(labels)} labels")
    check_labels(name, labels, classes)


def check_labels(name: str, labels: Tensor, classes: int) -> None:
    """Raise ValueError naming the first label outside 0..classes - 1."""
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise ValueError(f"{name} label {int(outside[0])}; valid with classes={classes}: 0..{classes - 1}")


def check_val_size(val_size: int | float) -> None:
    """Raise ValueError unless `val_size` is a count (integer, 0 or more) or a fraction (0 <= f < 1)."""
    count = isinstance(val_size, int) and not isinstance(val_size, bool) and val_size >= 0
    fraction = isinstance(val_size, float) and 0 <= val_size < 1
    if not count and not fraction:
        raise ValueError(f"val_size={val_size!r}; valid: a count of samples (0, 1, 2, ...) or a fraction (0 <= f < 1)")


def held_out(samples: int, val_size: int | float) -> int:
    """Number of samples to hold out for validation. Raises ValueError if none is left to train on."""
    count = round(val_size * samples) if isinstance(val_size, float) else val_size
    if count >= samples:
        raise ValueError(f"val_size={val_size} leaves nothing to train on; valid: 0..{samples - 1}")
    return count


def check_fraction(name: str, value: float, whole: bool) -> None:
    """Raise ValueError unless 0 < `value` < 1.

    whole: also allow 1
    """
    if not (0 < value < 1 or (whole and value == 1)):
        raise ValueError(f"{name}={value!r}; valid: a fraction over 0 and {'up to' if whole else 'under'} 1")


def split(samples: int, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
    """Split off `count` random samples. Returns the indices of the rest and of the split-off ones, each ascending.

    key: seeds the draw
    """
    order = torch.randperm(samples, generator=generator(*key))
    return order[count:].sort().values, order[:count].sort().values


def stratified(labels: Tensor, count: int, *key: int | str) -> tuple[Tensor, Tensor]:
    """As `split`, stratified: every class loses its share of `count`, rounded by largest remainder."""
    order = torch.randperm(len(labels), generator=generator(*key))
    order = order[labels[order].argsort(stable=True)]
    sizes = torch.bincount(labels)
    taken = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    taken[remainders.argsort(descending=True, stable=True)[: count - int(taken.sum())]] += 1
    by_class = labels[order]
    chosen = torch.arange(len(labels)) - (sizes.cumsum(0) - sizes)[by_class] < taken[by_class]
    return order[~chosen].sort().values, order[chosen].sort().values


def check_per_class(labels: Tensor, classes: int, k: int) -> Tensor:
    """The number of samples of each class. Raises ValueError naming a class with fewer than `k`."""
    counts = torch.bincount(labels, minlength=classes)
    if k < 1 or counts.min() < k:
        rarest, fewest = int(counts.argmin()), int(counts.min())
        valid = f"valid: 1..{fewest}" if fewest else "valid: null, with n_batches=1 or more"
        raise ValueError(f"samples_per_class={k}: class {rarest} has {fewest} training samples; {valid}")
    return counts


def per_class(labels: Tensor, classes: int, k: int, seed: int | str) -> Tensor:
    """Indices of k random samples of every class, in random order. Raises ValueError as `check_per_class`."""
    counts = check_per_class(labels, classes, k)
    order = torch.randperm(len(labels), generator=generator("per_class", seed))
    by_class = labels[order].argsort(stable=True)
    first = counts.cumsum(0) - counts
    chosen = by_class[first[:, None] + torch.arange(k)].flatten()
    return order[chosen.sort().values]
