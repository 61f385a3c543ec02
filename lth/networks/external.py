"""Any network of torchvision or timm by its name, cut to the dataset's classes and channels.

Neither library is imported before it is asked for. What the dataset needs and the network cannot give is refused here,
by showing the network one blank image, rather than in the first training step.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lth.networks.init import WEIGHTED, initialise_
from lth.networks.refuse import refuse_unknown

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
MODEL_DEFAULT = "model_default"  # the initialisation the library gave


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from a safetensors file or a torch file, there also one kept under the key `state_dict`."""
    if not Path(path).is_file():
        raise ValueError(
            f"pretrained={str(path)!r} is no file; valid: false, true or the path of a .safetensors or .pt"
        )
    if Path(path).suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    return state.get("state_dict", state)


def load_(net: nn.Module, weights: Mapping[str, Tensor], classes: int) -> None:
    """Load `weights` in place, except those of a classifier over another number of classes, which stays as drawn."""
    own = net.state_dict()
    strangers = sorted(own.keys() ^ weights.keys())
    if strangers:
        raise ValueError(f"pretrained weights are of another network: {', '.join(strangers[:5])} on one side only")
    other = [name for name in own if own[name].shape != weights[name].shape]
    for name in other:
        here, there = own[name].shape, weights[name].shape
        if here[1:] != there[1:] or here[0] != classes:
            raise ValueError(f"pretrained {name} has shape {tuple(there)}, the network's has {tuple(here)}")
    net.load_state_dict({name: weights[name] for name in own if name not in other}, strict=False)


def strip_(net: nn.Module, bias: bool, affine: bool) -> None:
    """Take away the biases of convolutions and linear layers, or batch norm's weight and bias, where not wanted."""
    for module in net.modules():
        if not bias and isinstance(module, WEIGHTED):
            module.bias = None
        if not affine and isinstance(module, NORMS):
            module.affine, module.weight, module.bias = False, None, None


@torch.no_grad()
def refuse_misfit(what: str, net: nn.Module, classes: int, channels: int, image_size: int) -> None:
    """Raise unless `net` turns one image into `classes` logits, in training too; its mode comes back as it was."""
    fits = f"channels={channels}, image_size={image_size}, classes={classes}"
    training = net.training
    net.eval()
    try:
        logits = net(torch.zeros(1, channels, image_size, image_size))
    except Exception as error:
        raise ValueError(f"{what} cannot read the dataset's images ({fits}): {error}") from error
    finally:
        net.train(training)
    if getattr(net, "aux_logits", False):
        raise ValueError(f"{what} has auxiliary classifiers; valid: model.options={{aux_logits: false}}")
    if not isinstance(logits, Tensor) or logits.shape != (1, classes):
        raise ValueError(f"{what} gives {getattr(logits, 'shape', type(logits))}, not one logit per class ({fits})")


def finish(
    what: str,
    net: nn.Module,
    classes: int,
    channels: int,
    image_size: int,
    bias: bool,
    affine: bool,
    init: str,
    fan: str,
) -> nn.Module:
    strip_(net, bias, affine)
    if init != MODEL_DEFAULT:
        initialise_(net, init, fan)
    refuse_misfit(what, net, classes, channels, image_size)
    return net


def refuse_redraw(pretrained: bool | str, init: str) -> None:
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
    net = models.get_model(name, num_classes=classes, **(options or {}))
    if pretrained is True:
        load_(net, models.get_model_weights(name).DEFAULT.get_state_dict(progress=False), classes)
    elif pretrained:
        load_(net, read_weights(pretrained), classes)
    if channels != 3:
        cut_channels_(net, channels)
    return finish(f"torchvision {name}", net, classes, channels, image_size, bias, affine, init, fan)


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
    """timm's network `name`; `options` go to `timm.create_model` (e.g. img_size for a ViT). All else as for torchvision.

    With `pretrained: true` timm itself fits the first layer to the channels and the classifier to the classes.
    """
    try:
        import timm
    except ImportError as error:
        raise ImportError("model=timm needs timm: pip install 'lth[timm]'") from error
    if not timm.is_model(name):
        refuse_unknown("model.name", name, timm.list_models())
    refuse_redraw(pretrained, init)
    net = timm.create_model(
        name, pretrained=pretrained is True, num_classes=classes, in_chans=channels, **(options or {})
    )
    if pretrained and pretrained is not True:
        load_(net, read_weights(pretrained), classes)
    return finish(f"timm {name}", net, classes, channels, image_size, bias, affine, init, fan)
