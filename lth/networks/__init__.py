"""Plain networks, built from a dataset's classes, channels and image size, without masks.

Tickets name these functions, so they must keep their names. All networks map images (batch, channels, image_size,
image_size) to logits (batch, classes).
"""

from lth.networks._init import initialise_
from lth.networks.cifar_resnet import cifar_resnet, resnet20, resnet32, resnet32_double, resnet44, resnet56, resnet110
from lth.networks.conv import conv2, conv4, conv6
from lth.networks.external import timm_model, torchvision_model
from lth.networks.lenet import lenet5, lenet_300_100
from lth.networks.mlp import mlp
from lth.networks.mobilenet import mobilenet_v1, mobilenet_v2
from lth.networks.resnet import resnet18, resnet34, resnet50
from lth.networks.vgg import vgg11, vgg13, vgg16, vgg19
from lth.networks.wide_resnet import wide_resnet, wide_resnet_28_2, wide_resnet_28_10

__all__ = [
    "cifar_resnet",
    "conv2",
    "conv4",
    "conv6",
    "initialise_",
    "lenet5",
    "lenet_300_100",
    "mlp",
    "mobilenet_v1",
    "mobilenet_v2",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32_double",
    "resnet34",
    "resnet44",
    "resnet50",
    "resnet56",
    "resnet110",
    "timm_model",
    "torchvision_model",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
    "wide_resnet",
    "wide_resnet_28_2",
    "wide_resnet_28_10",
]
