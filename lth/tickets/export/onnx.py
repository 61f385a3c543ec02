"""ONNX: the masked network for other runtimes, checked with onnxruntime before the file gets its name."""

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lth.storage.atomic import write_with
from lth.tickets.export._masked import check_equal, images, masked_net
from lth.tickets.ticket import Ticket


def write(ticket: Ticket, path: Path, net: nn.Module, image_shape: tuple[int, int, int], inputs: str = "") -> str:
    """Write a graph from `images` to `logits` for any batch size.

    inputs: how `images` are computed from pixels; stored in the metadata of the file under `inputs`

    Raises ValueError, and leaves no file, if onnxruntime computes other outputs than the network.
    """
    runtime, library, _ = (_needed(package) for package in ("onnxruntime", "onnx", "onnxscript"))
    whole = masked_net(ticket, net)
    differences: list[float] = []

    def export(temporary: Path) -> None:
        torch.onnx.export(
            whole,
            (images(image_shape, 2, net),),
            str(temporary),
            dynamo=True,
            external_data=False,
            dynamic_shapes=({0: torch.export.Dim("batch")},),
            input_names=["images"],
            output_names=["logits"],
            verbose=False,
        )
        if inputs:
            model = library.load(str(temporary))
            library.helper.set_model_props(model, {"inputs": inputs})
            library.save(model, str(temporary))
        batch = images(image_shape, 5, net)
        session = runtime.InferenceSession(str(temporary), providers=["CPUExecutionProvider"])
        (logits,) = session.run(None, {session.get_inputs()[0].name: batch.numpy()})
        with torch.no_grad():
            differences.append(check_equal(str(path), whole(batch), torch.from_numpy(logits)))

    write_with(path, export)
    return f"ONNX of any batch size; in onnxruntime outputs differ by {differences[0]:.1g} from the masked network"


def _needed(package: str) -> Any:
    """The optional library. Raises ImportError naming the extra that installs it."""
    try:
        return import_module(package)
    except ImportError:
        raise ImportError(f"ONNX needs {package}: pip install 'lth[export]'") from None
