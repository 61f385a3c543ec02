"""Networks of torchvision and timm by name, built for the dataset's classes and channels.

Both libraries are imported when they are used. A forward pass on one blank image finds networks that do not fit the
dataset before training starts.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lth.networks._init import INITS, WEIGHTED, initialise_
from lth.networks._pretrained import load_, read_weights
from lth.networks._refuse import refuse_unknown

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_MODEL_DEFAULT = "model_default"  # the library's initialisation


@dataclass(frozen=True)
class _Changes:
    """Changes to a library's network after it is built.

    bias: false removes the biases of convolutions and linear layers
    affine: false removes weight and bias of batch norm
    init: `model_default` keeps the weights; a name of `initialise_` draws new ones
    fan: see `initialise_`
    """

    bias: bool = True
    affine: bool = True
    init: str = _MODEL_DEFAULT
    fan: str = "fan_out"

    def check(self, pretrained: bool | str) -> None:
        """Raise ValueError for an unknown init, and for one that would overwrite pretrained weights."""
        refuse_unknown("init", self.init, (_MODEL_DEFAULT, *INITS))
        if pretrained and self.init != _MODEL_DEFAULT:
            raise ValueError(f"init={self.init!r} would overwrite pretrained={pretrained!r}; valid: {_MODEL_DEFAULT}")

    def apply_(self, net: nn.Module) -> None:
        """Change `net` in place."""
        for module in net.modules():
            if not self.bias and isinstance(module, WEIGHTED):
                module.bias = None
            if not self.affine and isinstance(module, _NORMS):
                module.affine, module.weight, module.bias = False, None, None
        if self.init != _MODEL_DEFAULT:
            initialise_(net, self.init, self.fan)


@contextmanager
def _as_value_error(what: str) -> Iterator[None]:
    """Re-raise a library's complaint about its arguments as ValueError; a failed download keeps its own error."""
    try:
        yield
    except (TypeError, AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{what}: {error}") from error


@torch.no_grad()
def _check_fit(what: str, net: nn.Module, classes: int, channels: int, image_size: int) -> None:
    """Raise ValueError unless `net` returns one logit per class, and nothing else while training."""
    fits = f"channels={channels}, image_size={image_size}, classes={classes}"
    net.eval()
    with _as_value_error(f"{what} cannot read the dataset's images ({fits})"):
        logits = net(torch.zeros(1, channels, image_size, image_size))
    net.train()
    if getattr(net, "aux_logits", False):
        raise ValueError(f"{what} has auxiliary classifiers; valid: model.options={{aux_logits: false}}")
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        raise ValueError(f"{what} gives {getattr(logits, 'shape', type(logits))}, not one logit per class ({fits})")


def _cut_channels_(net: nn.Module, channels: int) -> None:
    """Keep only the first `channels` inputs of the first convolution, so that the scale of its weights is unchanged."""
    first = next((module for module in net.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None or channels > first.in_channels:
        raise ValueError(f"channels={channels} does not fit torchvision's networks; valid: 1 to 3 (or use model=timm)")
    first.weight = nn.Parameter(first.weight.detach()[:, :channels].clone())
    first.in_channels = channels


def torchvision_model(
    name: str,
    classes: int,
    channels: int,
    image_size: int,
    pretrained: bool | str = False,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> nn.Module:
    """Torchvision's classification network `name`.

    pretrained: false, true (downloads the default weights) or the path of a state dict; a classifier with another
        number of classes keeps its initial weights
    options: arguments for torchvision's builder, e.g. image_size for a ViT
    changes: bias and affine (false removes those parameters), init (`model_default` or a name of `initialise_`), fan

    Raises ValueError if name, weights or dataset do not fit.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError("model=torchvision needs torchvision: pip install torchvision") from error
    refuse_unknown("model.name", name, models.list_models(module=models))
    wanted = _Changes(**changes)
    wanted.check(pretrained)
    if pretrained and channels != 3:
        raise ValueError(f"pretrained torchvision weights read 3 channels, the dataset has {channels}; use model=timm")
    with _as_value_error(f"torchvision {name} cannot be built"):
        net = models.get_model(name, num_classes=classes, **(options or {}))
    if pretrained is True:
        default = models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True)
        load_(net, default, classes, "torchvision's default")
    elif pretrained:
        load_(net, read_weights(pretrained), classes, f"pretrained={pretrained}")
    if channels != 3:
        _cut_channels_(net, channels)
    wanted.apply_(net)
    _check_fit(f"torchvision {name}", net, classes, channels, image_size)
    return net


def timm_model(
    name: str,
    classes: int,
    channels: int,
    image_size: int,
    pretrained: bool | str = False,
    options: Mapping[str, Any] | None = None,
    **changes: Any,
) -> nn.Module:
    """timm's network `name`.

    pretrained: false, true (timm's weights; timm adapts the first layer and the classifier) or path of a state dict
    options: arguments for `timm.create_model`, e.g. img_size for a ViT

    All else as for `torchvision_model`.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("model=timm needs timm: pip install 'lth[timm]'") from error
    if not timm.is_model(name):
        refuse_unknown("model.name", name, timm.list_models())
    wanted = _Changes(**changes)
    wanted.check(pretrained)
    asked = {"pretrained": pretrained is True, "num_classes": classes, "in_chans": channels, **(options or {})}
    with _as_value_error(f"timm {name} cannot be built with {asked}"):
        net = timm.create_model(name, **asked)
    if pretrained and pretrained is not True:
        load_(net, read_weights(pretrained), classes, f"pretrained={pretrained}")
    wanted.apply_(net)
    _check_fit(f"timm {name}", net, classes, channels, image_size)
    return net
