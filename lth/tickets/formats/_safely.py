"""Loads files of other programs without running code that they hold."""

import errno
import pickle
from collections import OrderedDict
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from lth.storage.packing import Packed
from lth.tickets.thinned import Recipe

_LIBRARY_CODE = ("posix.", "nt.", "os.", "builtins.", "__builtin__.", "subprocess.")  # never a module of a network


class _Ignored:
    """Replaces an object that no ticket needs; takes any arguments and keeps none."""

    def __new__(cls, *_: Any, **__: Any) -> "_Ignored":
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None: ...


# Pickled name -> class loaded in its place, for objects that pruning libraries store beside tensors and containers.
_STUBS = {
    "distiller.thinning.ThinningRecipe": Recipe,
    "mask.Mask": OrderedDict,
    "pruning.mask.Mask": OrderedDict,
    "pytorch_lightning.utilities.parsing.AttributeDict": OrderedDict,
    "lightning.pytorch.utilities.parsing.AttributeDict": OrderedDict,
    "lightning_fabric.utilities.data.AttributeDict": OrderedDict,
    "numpy.core.multiarray.scalar": _Ignored,
    "numpy._core.multiarray.scalar": _Ignored,
    "numpy.dtype": _Ignored,
    "_codecs.encode": _Ignored,
    **{f"torch.optim.{n.lower()}.{n}": _Ignored for n in ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adadelta")},
}


def load(path: str | Path) -> Any:
    """The content of a torch checkpoint, a safetensors file or a pickled numpy dictionary, with tensors on the CPU.

    Raises FileNotFoundError, and ValueError with one line of text for another kind of file or one that holds code.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no file at {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        if path.suffix == ".npy":
            return _load_numpy(path)
        with torch.serialization.safe_globals([(stub, name) for name, stub in _STUBS.items()]):
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        return Packed.unpacked(loaded) if isinstance(loaded, dict) else loaded
    except OSError as error:
        if error.errno != errno.EINVAL:  # the disk fails: the file may be sound
            raise
        raise ValueError(f"{path} is damaged or no checkpoint: it ends too early") from None
    except RecursionError:
        raise ValueError(f"{path} is damaged or no checkpoint: it is nested too deep") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise ValueError(f"{path} is refused: {_one_line(error)}") from None
    except Exception as error:
        raise ValueError(f"{path} is damaged or no checkpoint: {type(error).__name__} {_one_line(error)}") from None


def digest(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    return sha256(Path(path).read_bytes()).hexdigest()


class _Restricted(pickle.Unpickler):
    """Unpickles tensors, arrays and dictionaries only. Any other name is an error, so no foreign code is called."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _KNOWN:
            raise pickle.UnpicklingError(f"it holds {full}, which is neither a tensor nor a plain container")
        return _KNOWN[full]


def _storage(data: bytes) -> Any:
    return torch.load(BytesIO(data), map_location="cpu", weights_only=True)


def _known() -> dict[str, Any]:
    reconstruct = np.zeros(1).__reduce__()[0]
    known = {
        "collections.OrderedDict": OrderedDict,
        "mask.Mask": OrderedDict,
        "torch._utils._rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
        "torch.storage._load_from_bytes": _storage,
        "numpy.ndarray": np.ndarray,
        "numpy.dtype": np.dtype,
        "_codecs.encode": lambda text, _: text.encode("latin1"),  # how old protocols write bytes
    }
    return known | {f"numpy.{core}.multiarray._reconstruct": reconstruct for core in ("core", "_core")}


_KNOWN = _known()


def _load_numpy(path: Path) -> Any:
    """The object that `numpy.save` pickled into an array without dimensions."""
    with path.open("rb") as file:
        version = np.lib.format.read_magic(file)
        reader = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = reader(file)
        if not dtype.hasobject or shape != ():
            raise ValueError(f"an array of {dtype} of shape {shape} is no dictionary of masks")
        return _Restricted(file).load().item()


def _one_line(error: Exception) -> str:
    text = str(error)
    for mark in ("Unsupported global: GLOBAL ", "Trying to load unsupported GLOBAL "):
        if mark in text:
            name = text.split(mark)[1].split()[0]
            whole = "; save the state_dict() of a module, not the module" if not name.startswith(_LIBRARY_CODE) else ""
            return f"it holds {name}, which is neither a tensor nor a plain container{whole}"
    return " ".join(text.split())[:200]
