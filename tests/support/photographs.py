"""Small folders of real JPEG files in the layouts that ImageNet and Tiny-ImageNet are published in."""

import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

SYNSETS = ["n01440764", "n02102040", "n02979186", "n03000684", "n03028079"]


def photograph(label: int, seed: int, width: int, height: int) -> Image.Image:
    """A smooth picture of its class's pattern under some noise, as cameras make and JPEG keeps them."""
    pattern = np.random.default_rng(label).uniform(40, 215, (4, 4, 3))
    noise = np.random.default_rng([7, seed, label]).normal(0, 25, (4, 4, 3))
    small = np.clip(pattern + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)


def jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95)
    return content.getvalue()


def imagenet(root: Path, classes: int = 3, train: int = 20, val: int = 6) -> Path:
    """`root`/train and `root`/val, each with a folder of images for every synset, of all sizes, one of them grey."""
    for part, count in (("train", train), ("val", val)):
        for label, synset in enumerate(SYNSETS[:classes]):
            folder = root / part / synset
            folder.mkdir(parents=True)
            for number in range(count):
                seed = number + 1000 * (part == "val")
                image = photograph(label, seed, 40 + 3 * (number % 20), 64 - number % 20)
                image = image.convert("L") if (label, number) == (1, 1) else image
                (folder / f"{synset}_{seed}.JPEG").write_bytes(jpeg(image))
    return root


def tiny_imagenet_zip(path: Path, classes: int = 3, train: int = 8, val: int = 4) -> Path:
    """The archive of Tiny-ImageNet: validation images in one folder, their classes in val_annotations.txt."""
    top, synsets = "tiny-imagenet-200", SYNSETS[:classes]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{top}/wnids.txt", "\n".join(synsets) + "\n")
        lines = []
        for label, synset in enumerate(synsets):
            for number in range(train):
                name = f"{top}/train/{synset}/images/{synset}_{number}.JPEG"
                archive.writestr(name, jpeg(photograph(label, number, 64, 64)))
            archive.writestr(f"{top}/train/{synset}/{synset}_boxes.txt", f"{synset}_0.JPEG\t0\t0\t62\t62\n")
        for number in range(val * classes):
            label = (2 * number + 1) % classes  # mixed, as they are published
            archive.writestr(f"{top}/val/images/val_{number}.JPEG", jpeg(photograph(label, 500 + number, 64, 64)))
            lines.append(f"val_{number}.JPEG\t{synsets[label]}\t0\t0\t62\t62\n")
        archive.writestr(f"{top}/val/val_annotations.txt", "".join(lines))
        archive.writestr(f"{top}/test/images/test_0.JPEG", jpeg(photograph(0, 0, 64, 64)))
    return path
