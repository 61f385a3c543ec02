"""Any network of torchvision or timm by its name, cut to the dataset's classes and channels.

Neither library is imported before it is asked for. What the dataset needs and the network cannot give is refused here,
by showing the network one blank image, rather than in the first training step.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lth.networks.init import INITS, WEIGHTED, initialise_
from lth.networks.pretrained import load_, read_weights
from lth.networks.refuse import refuse_unknown

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MODEL_DEFAULT = "model_default"  # the initialisation the library gave


def strip_(net: nn.Module, bias: bool, affine: bool) -> None:
    """Take away the biases of convolutions and linear layers, or batch norm's weight and bias, where not wanted."""
    for module in net.modules():
        if not bias and isinstance(module, WEIGHTED):
            module.bias = None
        if not affine and isinstance(module, NORMS):
            module.affine, module.weight, module.bias = False, None, None


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn a library's complaint about what it was asked for into ours; a failing download keeps its own error."""
    try:
        yield
    except (TypeError, AssertionError, RuntimeError, NotImplementedError) as error:
        raise ValueError(f"{what}: {error}") from error


@torch.no_grad()
def refuse_misfit(what: str, net: nn.Module, classes: int, channels: int, image_size: int) -> None:
    """Raise unless `net` turns one image into `classes` logits, in training too."""
    fits = f"channels={channels}, image_size={image_size}, classes={classes}"
    net.eval()
    with refusing(f"{what} cannot read the dataset's images ({fits})"):
        logits = net(torch.zeros(1, channels, image_size, image_size))
    net.train()
    if getattr(net, "aux_logits", False):
        raise ValueError(f"{what} has auxiliary classifiers; valid: model.options={{aux_logits: false}}")
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        raise ValueError(f"{what} gives {getattr(logits, 'shape', type(logits))}, not one logit per class ({fits})")


def redraw_(net: nn.Module, init: str, fan: str) -> None:
    """Draw the weights anew where the user asked for it; `model_default` leaves the library's."""
    refuse_unknown("init", init, (MODEL_DEFAULT, *INITS))
    if init != MODEL_DEFAULT:
        initialise_(net, init, fan)


def refuse_redraw(pretrained: bool | str, init: str) -> None:
    """An initialisation beside pretrained weights would silently throw those away."""
    if pretrained and init != MODEL_DEFAULT:
        raise ValueError(f"init={init!r} would overwrite pretrained={pretrained!r}; valid: {MODEL_DEFAULT}")


def cut_channels_(net: nn.Module, channels: int) -> None:
    """Let the first convolution read only `channels` of its three inputs: the same distribution of the same draws."""
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
    bias: bool = True,
    affine: bool = True,
    init: str = MODEL_DEFAULT,
    fan: str = "fan_out",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Torchvision's classification network `name`; `options` go to its builder (e.g. image_size for a ViT).

    `pretrained` is false, true (downloads the default weights) or the path of a state dict; a classifier over other
    classes starts anew. `bias` and `affine` false take those parameters away. `init` is `model_default` or a name of
    `initialise_`. Raises `ValueError` where name, weights or dataset do not fit.
    """
    try:
        from torchvision import models
    except ImportError as error:
        raise ImportError("model=torchvision needs torchvision: pip install torchvision") from error
    refuse_unknown("model.name", name, models.list_models(module=models))
    refuse_redraw(pretrained, init)
    if pretrained and channels != 3:
        raise ValueError(f"pretrained torchvision weights read 3 channels, the dataset has {channels}; use model=timm")
    with refusing(f"torchvision {name} cannot be built"):
        net = models.get_model(name, num_classes=classes, **(options or {}))
    if pretrained is True:
        load_(net, models.get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True), classes)
    elif pretrained:
        load_(net, read_weights(pretrained), classes)
    if channels != 3:
        cut_channels_(net, channels)
    strip_(net, bias, affine)
    redraw_(net, init, fan)
    refuse_misfit(f"torchvision {name}", net, classes, channels, image_size)
    return net


def timm_model(
    name: str,
    classes: int,
    channels: int,
    image_size: int,
    pretrained: bool | str = False,
    bias: bool = True,
    affine: bool = True,
    init: str = MODEL_DEFAULT,
    fan: str = "fan_out",
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """timm's network `name`; `options` go to `timm.create_model` (e.g. img_size for a ViT). Else as for torchvision.

    With `pretrained: true` timm itself fits the first layer to the channels and the classifier to the classes.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("model=timm needs timm: pip install 'lth[timm]'") from error
    if not timm.is_model(name):
        refuse_unknown("model.name", name, timm.list_models())
    refuse_redraw(pretrained, init)
    asked = {"pretrained": pretrained is True, "num_classes": classes, "in_chans": channels, **(options or {})}
    with refusing(f"timm {name} cannot be built with {asked}"):
        net = timm.create_model(name, **asked)
    if pretrained and pretrained is not True:
        load_(net, read_weights(pretrained), classes)
    strip_(net, bias, affine)
    redraw_(net, init, fan)
    refuse_misfit(f"timm {name}", net, classes, channels, image_size)
    return net
