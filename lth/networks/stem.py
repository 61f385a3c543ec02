"""How a network starts: gently on small images, with strides and pooling on large ones."""

from lth.networks.refuse import refuse_unknown

STEMS = ("auto", "cifar", "imagenet")
LARGEST_SMALL_IMAGE = 64  # pixels; Tiny-ImageNet still starts like CIFAR


def is_imagenet_stem(stem: str, image_size: int) -> bool:
    """Whether to start with large strides; `auto` does so above 64 pixels. Raises `ValueError` for an unknown stem."""
    refuse_unknown("stem", stem, STEMS)
    return stem == "imagenet" or (stem == "auto" and image_size > LARGEST_SMALL_IMAGE)
