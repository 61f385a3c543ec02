"""Events that take out what is low, however much that is."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from lth.pruning.masks import Masks


@dataclass(frozen=True)
class Threshold:
    """Which weights an event takes out for good: those whose score is at most `at`, in 0..1 (arXiv 2202.12002).

    The density emerges: what the schedule asks for (`left`) is no matter, except to a network that loses everything.
    """

    at: float = 0.5
    counted = False

    def __post_init__(self) -> None:
        if not 0 <= self.at < 1:
            raise ValueError(f"threshold {self.at} must be at least 0 and under 1: scores lie between them")

    def __call__(self, scores: Mapping[str, Tensor], flags: Masks, left: int) -> Masks:
        """New flags inside `flags`, of the weights whose score is over the threshold."""
        return flags.clone().copy_({name: flag.bool() & (scores[name] > self.at) for name, flag in flags.items()})
