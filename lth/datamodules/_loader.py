"""Loaders of batches from tensors on the training device, without workers, copies or synchronisation with the host."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from torch import Tensor

from lth.datamodules._augment import Augment, Draws, crop, cutout, flip, windows
from lth.datamodules._normalise import Normalise

Batch = tuple[Tensor, Tensor]
_LARGEST_SLICED = 4 * 2**20  # most values (N C H W) of a training set that is normalised once per epoch, then sliced


def batches(samples: int, batch_size: int, world: int = 1, drop_last: bool = False) -> int:
    """Number of global batches in an epoch.

    An incomplete last batch counts unless `drop_last` is set or it has fewer samples than there are ranks: a rank
    without a sample could not take part in the step.

    batch_size: global, over all ranks
    world: number of ranks
    """
    full, rest = divmod(samples, batch_size)
    return full + (rest >= world and rest > 0 and not drop_last)


@dataclass(frozen=True)
class Batching:
    """How the samples of an epoch are divided into batches and among ranks.

    batch_size: global, over all ranks
    rank: of this process
    world: number of ranks
    drop_last: leave out an incomplete last batch
    current_epoch: returns the trainer's epoch; None without a trainer
    """

    batch_size: int
    rank: int = 0
    world: int = 1
    drop_last: bool = False
    current_epoch: Callable[[], int] | None = None


class EpochLoader(ABC):
    """The batches of one epoch; subclasses implement `batches_of`.

    The epoch is read from `current_epoch` when the first batch is taken, or set by `set_epoch`. Inside a fit it must be
    the trainer's `current_epoch`: the number that Lightning passes to `sampler.set_epoch` is one too high after a
    resume from the end of an epoch if the fit is limited by steps.

    The state is (epoch, number of batches returned). A fit can resume inside an epoch from a checkpoint that was
    written after the step on the last batch returned. `lth run` itself saves at the end of epochs only.

    samples: number of training samples
    """

    def __init__(self, samples: int, batching: Batching) -> None:
        batch_size, world = batching.batch_size, batching.world
        if batch_size % world:
            raise ValueError(f"batch_size={batch_size} is global; it must be a multiple of the {world} ranks")
        self.length = batches(samples, batch_size, world, batching.drop_last)
        if not self.length:
            raise ValueError(f"{samples} training samples make no batch of {batch_size} for {world} ranks")
        self.batching = batching
        self.epoch, self.position = 0, 0
        self.resumed: tuple[int, int] | None = None

    @abstractmethod
    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        """This rank's part of the batches of `epoch`, from batch `first` on."""

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch of the next pass if there is no trainer; the default is 0."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        """The epoch, and how many of its batches were returned."""
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Make the next pass skip the batches already returned, if it is a pass over the same epoch."""
        self.resumed = self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Batch]:
        # A generator, so that nothing runs before the first batch is taken: Lightning calls iter() before it knows the
        # epoch, and sometimes without taking a batch.
        if self.batching.current_epoch is not None:
            self.epoch = self.batching.current_epoch()
        epoch, returned = self.resumed or (self.epoch, 0)
        self.resumed = None
        first = returned if epoch == self.epoch else 0
        for position, batch in enumerate(self.batches_of(self.epoch, first), first):
            self.position = position + 1
            yield batch


class ArrayLoader(EpochLoader):
    """Shuffled, augmented, normalised batches of one epoch: float32 (B, C, H, W) and int64 (B,).

    Rank r takes positions r, r + world, ... of each global batch. In an incomplete last batch ranks may differ by one
    sample, which DDP's mean over ranks then weights slightly unequally.

    images: uint8 or float32 (N, C, H, W), already padded by `augment.crop`
    draw: returns the random numbers of an epoch
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalise: Normalise,
        draw: Callable[[int], Draws],
        augment: Augment,
        batching: Batching,
    ) -> None:
        super().__init__(len(labels), batching)
        self.sliced = images.numel() <= _LARGEST_SLICED and augment == Augment()
        self.images, self.labels, self.normalise = images, labels, normalise
        self.views = windows(images, images.shape[-1] - 2 * augment.crop)
        self.draw, self.augment = draw, augment

    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        """Batches made on the device from the random numbers of `epoch`."""
        # A few small copies per epoch, so that no batch waits for the host.
        size, rank, world = self.batching.batch_size, self.batching.rank, self.batching.world
        draws = self.draw(epoch).in_order().each(lambda part: part.to(self.images.device))
        labels = self.labels[draws.order]
        if self.sliced:
            images = self.normalise(self.images[draws.order])
        for start in range(first * size, self.length * size, size):
            mine = slice(start + rank, start + size, world)
            if self.sliced:
                yield images[mine], labels[mine]
            else:
                yield self._augmented(draws.each(operator.itemgetter(mine))), labels[mine]

    def _augmented(self, draws: Draws) -> Tensor:
        """The images `draws.order`, augmented with these random numbers."""
        if draws.offsets is None:
            x = self.images.index_select(0, draws.order)
        else:
            x = crop(self.views, draws.order, draws.offsets)
        if draws.flips is not None:
            x = flip(x, draws.flips)
        x = self.normalise(x)
        return x if draws.centres is None else cutout(x, draws.centres, self.augment.cutout)


class FixedLoader:
    """Batches in the order of the tensors, without augmentation, for validation and test.

    Rank r takes samples r, r + world, ...; each sample is seen once, so sums over ranks are exact.

    images: uint8 or float32 (N, C, H, W)
    batch_size: samples per batch on each device

    Raises ValueError for fewer samples than ranks.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, normalise: Normalise, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(labels) < world:
            raise ValueError(f"{len(labels)} samples to evaluate on {world} ranks; valid: at least one per rank")
        self.images, self.labels = images[rank::world], labels[rank::world]
        self.normalise, self.batch_size = normalise, batch_size

    def __len__(self) -> int:
        return batches(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        parts = zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
        return ((self.normalise(x), y) for x, y in parts)
