"""Moves a masked matrix towards orthogonal rows or columns."""

import torch
from torch import Tensor


@torch.enable_grad()
def orthogonalise(weight: Tensor, mask: Tensor, steps: int, lr: float, tolerance: float) -> tuple[Tensor, float, float]:
    """`weight * mask` moved towards orthogonality, and the residual before and after.

    The matrix is outputs x (inputs and kernel positions). Arguments as in `distributions.orthogonal`.
    """
    m = mask.flatten(1)
    a = (weight.flatten(1) * m).requires_grad_()
    before = residual = _residual(a)
    for _ in range(steps):
        if residual.item() <= tolerance:
            break
        (gradient,) = torch.autograd.grad(residual, a)
        with torch.no_grad():
            a.sub_(lr * gradient * m)
        residual = _residual(a)
    return a.detach().view(weight.shape), before.item(), residual.item()


def _residual(a: Tensor) -> Tensor:
    """||A A^T - I||_F for a wide matrix, ||A^T A - I||_F for a tall one."""
    gram = a @ a.T if a.shape[0] <= a.shape[1] else a.T @ a
    return torch.linalg.norm(gram - torch.eye(len(gram), device=a.device, dtype=a.dtype))
