"""The 1,797 handwritten digits that scikit-learn contains (UCI, Alpaydin & Kaynak 1998); nothing is downloaded."""

from typing import Any

import torch

from lth.datamodules.arrays import Arrays, Parts


class Digits(Arrays):
    """8 x 8 grey images with pixel values 0..16.

    train_count: number of training images, the first of a random permutation; the rest is the test set
    permute_seed: seed of the torch generator that draws the permutation, so that other programs can make the same split
    arrays: the other keys, see `Arrays`
    """

    def __init__(self, *, train_count: int = 1200, permute_seed: int = 0, **arrays: Any) -> None:
        super().__init__(**arrays)
        if not 0 < train_count < 1797:
            raise ValueError(f"train_count={train_count}; valid: 1..1796 (there are 1797 digits)")
        self.train_count, self.permute_seed = train_count, permute_seed

    def read(self, root: str | None) -> Parts:
        """The digits of scikit-learn; `root` is unused."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(self.permute_seed))
        images = torch.from_numpy(digits.images).to(torch.uint8)[order, None]
        labels = torch.from_numpy(digits.target).long()[order]
        at = self.train_count
        return images[:at], labels[:at], images[at:], labels[at:]
