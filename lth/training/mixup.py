"""Mixup (Zhang et al., ICLR 2018, arXiv 1710.09412): images and targets, mixed by one draw a batch."""

import numpy as np
import torch
from torch import Tensor

from lth.pruning.seeds import derive


def mix(x: Tensor, alpha: float, *key: int | str) -> tuple[Tensor, Tensor, float]:
    """lam * x + (1 - lam) * x[partner], with lam ~ Beta(alpha, alpha) and the partners drawn from the stream `key`.

    Returns the mixed images, the partners' indices within the batch, and lam.
    """
    draw = np.random.Generator(np.random.Philox(derive("mixup", *key)))
    lam = float(draw.beta(alpha, alpha))
    partner = torch.from_numpy(draw.permutation(len(x))).to(x.device, non_blocking=True)
    return lam * x + (1 - lam) * x[partner], partner, lam
