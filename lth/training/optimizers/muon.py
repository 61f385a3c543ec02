"""Muon (Jordan et al. 2024; Liu et al. 2025, arXiv 2502.16982), by pytorch_optimizer."""

from collections.abc import Iterable, Iterator
from typing import Any

from torch.nn import Parameter

try:
    import pytorch_optimizer
except ImportError as error:
    raise ImportError("recipe/optimizer=muon needs pytorch_optimizer: pip install 'lth[optimizers]'") from error


class Muon(pytorch_optimizer.Muon):
    """Orthogonalised momentum for all weights of two or more dimensions, first and last layer too; AdamW for the rest.

    Updates are scaled to the size of AdamW's (arXiv 2502.16982, section 2.2), so that one learning rate serves both.
    The momentum of pruned weights is zero; the orthogonalised update is dense, and pruned weights are zeroed after it.
    betas, eps: of AdamW.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        **options: Any,
    ):
        rest = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "weight_decouple": True, "use_muon": False}
        groups = [part for group in params for part in apart(group, rest)]
        super().__init__(groups, lr=lr, use_adjusted_lr=True, **options)
        self.defaults.update(rest)  # of groups that are added later


def apart(group: dict[str, Any], rest: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A group as two: its matrices (and what flattens to one), and all else with the options `rest`."""
    parameters: list[Parameter] = list(group["params"])
    matrices = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    if matrices:
        yield {**group, "params": matrices, "use_muon": True}
    if others:
        yield {**rest, **group, "params": others}
