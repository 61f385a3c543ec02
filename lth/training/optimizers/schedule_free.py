"""Schedule-free optimizers (Defazio et al. 2024, arXiv 2405.15682), from their authors' library.

The stored weights are y, where gradients are taken, or x, the average that is evaluated; z, in the optimizer's state,
is zero wherever masks prune, and so both are.
"""

try:
    from schedulefree import AdamWScheduleFree, SGDScheduleFree
except ImportError as error:
    raise ImportError(
        "recipe/optimizer=schedule_free_sgd and schedule_free_adamw need schedulefree: pip install 'lth[optimizers]'"
    ) from error

__all__ = ["AdamWScheduleFree", "SGDScheduleFree"]
