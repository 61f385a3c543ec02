"""Files of other programs, made here with the structure the originals write."""

import pickle
from collections import OrderedDict, namedtuple

import numpy as np
import torch
from torch import nn

ThinningRecipe = namedtuple("ThinningRecipe", ["modules", "parameters"])
ThinningRecipe.__module__ = "distiller.thinning"


def net(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(conv=nn.Conv2d(1, 4, 3), bn=nn.BatchNorm2d(4), flat=nn.Flatten(), fc=nn.Linear(16, 3))
    )


def masks_of(seed=1):
    random = torch.Generator().manual_seed(seed)
    return {n: torch.rand(net().state_dict()[n].shape, generator=random) > 0.6 for n in ("conv.weight", "fc.weight")}


def distiller(path, state, masks, epoch=0, recipes=(), steps=False):
    """What its save_checkpoint writes: an optimizer's class beside its state, masks for every parameter."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(2))], lr=0.1, momentum=0.9)
    checkpoint = {
        "epoch": epoch,
        "state_dict": OrderedDict((f"module.{n}", w) for n, w in state.items()),
        "arch": "resnet20_cifar",
        "is_parallel": True,
        "dataset": "cifar10",
        "optimizer_state_dict": {"state": {0: {"momentum_buffer": torch.ones(2)}} if steps else {}, "param_groups": []},
        "optimizer_type": type(optimizer),
    }
    if masks is not None:
        named = {f"module.{n}": masks[n].float() if n in masks else None for n in state}
        checkpoint["compression_sched"] = {"masks_dict": named}
    if recipes:
        checkpoint["thinning_recipes"] = list(recipes)
    save_with_foreign_classes(checkpoint, path)
    return path


def save_with_foreign_classes(value, path):
    """torch.save, with the classes of a library that is not installed here written by name alone."""
    import sys
    from types import ModuleType

    for name in ("distiller", "distiller.thinning"):
        sys.modules[name] = ModuleType(name)
    sys.modules["distiller.thinning"].ThinningRecipe = ThinningRecipe
    try:
        torch.save(value, path)
    finally:
        for name in ("distiller", "distiller.thinning"):
            del sys.modules[name]


class Mask(dict):
    """As pruning_is_enough's IMP pickles its masks."""


Mask.__module__ = "mask"


def numpy_masks(path, masks):
    """`numpy.save` of a dictionary subclass of tensors."""
    import sys
    from types import ModuleType

    sys.modules["mask"] = ModuleType("mask")
    sys.modules["mask"].Mask = Mask
    try:
        np.save(path, np.array(Mask(masks), dtype=object), allow_pickle=True)
    finally:
        del sys.modules["mask"]
    return path


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        import os

        return os.mkdir, (str(self.mark),)


def bombs(folder):
    """Malicious files of every kind that is read."""
    mark = folder / "exploded"
    torch.save({"state_dict": {"a": torch.ones(1)}, "extras": Bomb(mark)}, folder / "zip.pth")
    torch.save({"a": Bomb(mark)}, folder / "old.pth", _use_new_zipfile_serialization=False)
    (folder / "plain.pth").write_bytes(pickle.dumps(Bomb(mark)))
    np.save(folder / "array.npy", np.array({"a": Bomb(mark)}, dtype=object), allow_pickle=True)
    inner = pickle.dumps(Bomb(mark))
    np.save(folder / "storage.npy", np.array({"a": _Storage(inner)}, dtype=object), allow_pickle=True)
    return mark, sorted(p for p in folder.iterdir() if p.suffix in (".pth", ".npy"))


class _Storage:
    """A tensor's storage whose bytes are a bomb: torch itself would load them with plain pickle."""

    def __init__(self, data):
        self.data = data

    def __reduce__(self):
        return torch.storage._load_from_bytes, (self.data,)
