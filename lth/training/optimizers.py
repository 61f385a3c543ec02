"""Optimizers of other libraries, which come with the extra `lth[optimizers]`.

Their gradients are masked. Updates may be dense nevertheless, so pruned weights are set to zero after each step.

`AdamWScheduleFree`, `SGDScheduleFree` (Defazio et al. 2024, arXiv 2405.15682): in train mode the stored weights are y,
at which gradients are taken; in eval mode they are x, the average. Both are zero where masks prune, because z in the
optimizer's state is zero there.
`Shampoo` (Gupta et al. 2018, arXiv 1802.09568), `SOAP` (Vyas et al. 2024, arXiv 2409.11321): preconditioner matrices,
and SOAP's second moments in their eigenbasis, are computed from masked gradients and never set to zero.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch.nn import Parameter

try:
    import pytorch_optimizer
    from pytorch_optimizer import SOAP, Shampoo
    from schedulefree import AdamWScheduleFree, SGDScheduleFree
except ImportError as error:
    raise ImportError(
        "this recipe/optimizer needs pytorch_optimizer and schedulefree: pip install 'lth[optimizers]'"
    ) from error

__all__ = ["SAM", "SOAP", "AdamWScheduleFree", "Muon", "SGDScheduleFree", "Shampoo"]


class Muon(pytorch_optimizer.Muon):
    """Orthogonalised momentum for every weight with two or more dimensions, AdamW for other parameters.

    Updates are scaled to the size of AdamW's (arXiv 2502.16982, section 2.2), so that one learning rate serves both
    (Jordan et al. 2024; Liu et al. 2025). The momentum of pruned weights is zero.

    params: parameter groups
    lr: learning rate of both
    betas, eps: of AdamW
    options: of `pytorch_optimizer.Muon`
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        **options: Any,
    ):
        adamw = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0, "weight_decouple": True, "use_muon": False}
        groups = [part for group in params for part in _split(group, adamw)]
        super().__init__(groups, lr=lr, use_adjusted_lr=True, **options)
        self.defaults.update(adamw)  # for groups that are added later


class SAM(pytorch_optimizer.SAM):
    """Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412).

    Takes the gradient g at the weights w, then lets `base_optimizer` step with the gradient at w + rho g / |g|. Pruned
    weights are zero at both points and add nothing to |g|.
    """

    passes = 2  # forward and backward passes over each batch; `Recipe` checks it

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make one step and return the loss at the weights.

        closure: clears gradients, then computes the loss and its gradients; called at both points

        Raises TypeError without a closure.
        """
        if closure is None:
            raise TypeError("SAM takes the gradient at two points in each step: it needs a closure")
        with torch.enable_grad():
            loss = closure()
        super().step(closure)
        return loss


def _split(group: dict[str, Any], adamw: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Split a parameter group: parameters with two or more dimensions, and the rest with the options `adamw`."""
    parameters: list[Parameter] = list(group["params"])
    matrices = [p for p in parameters if p.ndim >= 2]
    others = [p for p in parameters if p.ndim < 2]
    if matrices:
        yield {**group, "params": matrices, "use_muon": True}
    if others:
        yield {**adamw, **group, "params": others}
