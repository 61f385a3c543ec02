"""Where and how large: what all comparisons of one call share."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Setting:
    """device: cpu or cuda. quick: everything tiny, to see that it runs. bf16: train in bfloat16 autocast."""

    device: torch.device
    quick: bool = False
    bf16: bool = False

    def amount(self, cpu: int, cuda: int, quick: int) -> int:
        """How much one turn does: enough to be timed well on the device, next to nothing when quick."""
        if self.quick:
            return quick
        return cuda if self.device.type == "cuda" else cpu


def find_device(name: str) -> torch.device:
    """The device called auto (a GPU when there is one), cpu or cuda. Raises ValueError where there is none."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device cuda: torch sees no CUDA device here; valid: auto, cpu")
    return torch.device(name)
