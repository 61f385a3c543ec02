"""Shampoo (Gupta et al. 2018, arXiv 1802.09568) and SOAP (Vyas et al. 2024, arXiv 2409.11321), by pytorch_optimizer.

Gradients come masked; the preconditioned update is dense, and pruned weights are zeroed after it. The matrices that
precondition, and SOAP's second moments in their eigenbasis, are what masked gradients make them; nothing zeroes them.
"""

try:
    from pytorch_optimizer import SOAP, Shampoo
except ImportError as error:
    raise ImportError(
        "recipe/optimizer=shampoo and soap need pytorch_optimizer: pip install 'lth[optimizers]'"
    ) from error

__all__ = ["SOAP", "Shampoo"]
