"""Device, size and precision, common to all comparisons of one call."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Setting:
    """The setting of all comparisons.

    device: cpu or cuda
    quick: tiny sizes, to check that everything runs
    bf16: train with bfloat16 autocast
    """

    device: torch.device
    quick: bool = False
    bf16: bool = False

    def amount(self, cpu: int, cuda: int, quick: int) -> int:
        """The amount of work in one turn: `quick` if the setting is quick, else that for the device."""
        if self.quick:
            return quick
        return cuda if self.device.type == "cuda" else cpu


def find_device(name: str) -> torch.device:
    """The device `name`: auto (a GPU if there is one), cpu or cuda. Raises ValueError for cuda without a GPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no CUDA device here; valid: auto, cpu")
    return torch.device(name)
