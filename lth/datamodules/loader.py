"""Batches cut from tensors that already live on the training device: no workers, no copies, no waiting for the host."""

import operator
from collections.abc import Callable, Iterator

from torch import Tensor

from lth.datamodules.augment import Augment, Draws, crop, cutout, flip, windows
from lth.datamodules.normalise import Normalise

Batch = tuple[Tensor, Tensor]


def batches(samples: int, batch_size: int, world: int = 1, drop_last: bool = False) -> int:
    """How many global batches an epoch has.

    An incomplete last batch is kept unless `drop_last`, or unless it has fewer samples than there are ranks: a rank
    without a sample could not take part in the step.
    """
    full, rest = divmod(samples, batch_size)
    return full + (rest >= world and rest > 0 and not drop_last)


class EpochLoader:
    """The batches of one epoch; a subclass says in `batches_of` which they are.

    The epoch of a pass is asked of `current_epoch()` when its first batch is taken, or set by `set_epoch`. Inside a fit
    it must be the trainer's `current_epoch`: what Lightning announces through `sampler.set_epoch` is one too high after
    a resume from the end of an epoch when steps, not epochs, limit the fit.

    The state is (epoch, batches given), so a run resumes inside an epoch too, from a checkpoint written between two
    steps: not from one written while a batch was given but not yet trained on.
    """

    def __init__(
        self, samples: int, batch_size: int, world: int, drop_last: bool, current_epoch: Callable[[], int] | None
    ) -> None:
        if batch_size % world:
            raise ValueError(f"batch_size={batch_size} is global; it must be a multiple of the {world} ranks")
        self.length = batches(samples, batch_size, world, drop_last)
        if not self.length:
            raise ValueError(f"{samples} training samples make no batch of {batch_size} for {world} ranks")
        self.batch_size, self.world = batch_size, world
        self.epoch, self.position = 0, 0
        self.current_epoch = current_epoch or (lambda: self.epoch)
        self.resumed: tuple[int, int] | None = None

    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        """This rank's share of the batches of `epoch`, the `first` ones left out."""
        raise NotImplementedError

    def __len__(self) -> int:
        return self.length

    def set_epoch(self, epoch: int) -> None:
        """The epoch of the next pass, where there is no trainer to ask; without it every pass is epoch 0."""
        self.epoch = epoch

    def state_dict(self) -> dict[str, int]:
        return {"epoch": self.epoch, "position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Let the next pass start behind the batches already given, if it is a pass over the same epoch."""
        self.resumed = self.epoch, self.position = state["epoch"], state["position"]

    def __iter__(self) -> Iterator[Batch]:
        # A generator: nothing happens before the first batch is asked for. Lightning calls iter() before it knows the
        # epoch, and calls it for a look without ever taking a batch.
        self.epoch = self.current_epoch()
        epoch, given = self.resumed or (self.epoch, 0)
        self.resumed = None
        first = given if epoch == self.epoch else 0
        for position, batch in enumerate(self.batches_of(self.epoch, first), first):
            self.position = position + 1
            yield batch


class ArrayLoader(EpochLoader):
    """Shuffled, augmented, normalised batches (x float32 (B, C, H, W), y int64 (B,)) of one epoch.

    `images` are uint8 and already padded by `augment.crop`; `draw(epoch)` gives the epoch's random numbers.
    Of each global batch of `batch_size` samples rank r takes positions r, r + world, ...: ranks differ by at most one
    sample, and only in an incomplete last batch, whose samples DDP's mean over ranks then weighs slightly unequally.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        normalise: Normalise,
        draw: Callable[[int], Draws],
        augment: Augment,
        batch_size: int,
        rank: int = 0,
        world: int = 1,
        drop_last: bool = False,
        current_epoch: Callable[[], int] | None = None,
    ) -> None:
        super().__init__(len(labels), batch_size, world, drop_last, current_epoch)
        self.images, self.labels, self.normalise = images, labels, normalise
        self.views = windows(images, images.shape[-1] - 2 * augment.crop)
        self.draw, self.augment, self.rank = draw, augment, rank

    def batches_of(self, epoch: int, first: int) -> Iterator[Batch]:
        # A few small copies an epoch, so that no batch waits for the host.
        draws = self.draw(epoch).in_order().each(lambda part: part.to(self.images.device))
        labels = self.labels[draws.order]
        for start in range(first * self.batch_size, self.length * self.batch_size, self.batch_size):
            mine = slice(start + self.rank, start + self.batch_size, self.world)
            yield self.augmented(draws.each(operator.itemgetter(mine))), labels[mine]

    def augmented(self, draws: Draws) -> Tensor:
        """The samples `draws.order` as the draws would have them."""
        if draws.offsets is None:
            x = self.images.index_select(0, draws.order)
        else:
            x = crop(self.views, draws.order, draws.offsets)
        if draws.flips is not None:
            x = flip(x, draws.flips)
        x = self.normalise(x)
        return x if draws.centres is None else cutout(x, draws.centres, self.augment.cutout)


class FixedLoader:
    """Batches in the order of the tensors, never shuffled or augmented, for validation and test.

    Rank r takes samples r, r + world, ...: each sample is seen once, none is repeated to fill up, so sums over ranks
    are exact. `batch_size` is per device.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, normalise: Normalise, batch_size: int, rank: int = 0, world: int = 1
    ) -> None:
        if len(labels) < world:
            raise ValueError(f"{len(labels)} samples to evaluate on {world} ranks; valid: one for each rank or more")
        self.images, self.labels = images[rank::world], labels[rank::world]
        self.normalise, self.batch_size = normalise, batch_size

    def __len__(self) -> int:
        return batches(len(self.labels), self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        parts = zip(self.images.split(self.batch_size), self.labels.split(self.batch_size), strict=True)
        return ((self.normalise(x), y) for x, y in parts)
