"""Files of other programs and tickets: no layer is lost silently, and reading one opens nothing else."""

from pathlib import Path

import pytest
import torch

from lth.networks.from_config import described
from lth.tickets.formats.content import read
from lth.tickets.layouts import LAYOUTS

PRUNED = {
    "0.weight_orig": torch.rand(4, 3),
    "0.weight_mask": torch.ones(4, 3),
    "2.weight_orig": torch.rand(2, 4),
    "2.weight_mask": torch.tensor([[1.0, 0, 1, 0]] * 2),
}
BESIDE = {
    "0.weight": torch.rand(4, 3),
    "0.mask": torch.ones(4, 3),
    "2.weight": torch.rand(2, 4),
    "2.mask": torch.tensor([[1.0, 0, 1, 0]] * 2),
}


def saved(path: Path, state: dict) -> Path:
    torch.save(state, path)
    return path


@pytest.mark.parametrize(("layout", "state"), [("torch_prune", PRUNED), ("turboprune", BESIDE)])
def test_a_whole_file_is_read(layout, state, tmp_path: Path):
    ticket = LAYOUTS[layout].read(saved(tmp_path / "file.pt", state))
    assert {name: int(mask.sum()) for name, mask in ticket.masks.items()} == {"0.weight": 12, "2.weight": 4}


@pytest.mark.parametrize(
    ("state", "missing"), [(PRUNED, "0.weight_orig"), (PRUNED, "0.weight_mask"), (BESIDE, "0.weight")]
)
def test_half_a_layer_is_refused(state, missing, tmp_path: Path):
    path = saved(tmp_path / "file.pt", {name: value for name, value in state.items() if name != missing})
    with pytest.raises(ValueError, match="a layer is incomplete") as error:
        read(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("mask", [None, "ones", [1, 0], torch.full((4, 3), float("nan")), torch.ones(4, 3).to_sparse()])
def test_a_mask_that_is_no_dense_tensor_of_0_and_1_is_refused(mask, tmp_path: Path):
    with pytest.raises(ValueError, match=r"0\.weight"):
        read(saved(tmp_path / "file.pt", {**PRUNED, "0.weight_mask": mask}))


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path):
    damaged = {**PRUNED, "0.weight_orig": torch.full((4, 3), float("nan"))}
    with pytest.raises(ValueError, match=r"not numbers \(NaN\): \['0.weight'\]"):
        LAYOUTS["torch_prune"].read(saved(tmp_path / "file.pt", damaged))


@pytest.mark.parametrize(
    "options",
    [
        {"options": {"pretrained": True, "pretrained_cfg": {"url": "http://127.0.0.1:9/w"}}},
        {"options": {"weights": "DEFAULT"}},
        {"options": {"checkpoint_path": "/etc/hostname"}},
        {"options": "weights"},
        {"name": "hf-hub:someone/network"},
        {"name": "local-dir:/etc"},
        {"init": {"_target_": "lth.networks.timm_model", "pretrained": True}},
        {"init": "/etc/hostname"},
    ],
    ids=str,
)
def test_a_ticket_gives_a_library_no_file_or_address(options):
    network = {"_target_": "lth.networks.timm_model", "name": "resnet18", "classes": 10, **options}
    with pytest.raises(ValueError, match="--network FILE"):
        described({"network": network})


def test_a_ticket_names_networks_with_numbers_and_choices():
    network = {
        "_target_": "lth.networks.timm_model",
        "name": "vit_tiny_patch16_224.augreg_in21k",
        "pretrained": "/somewhere.pt",
        "options": {"img_size": 64, "drop_rate": 0.1},
        "init": "model_default",
    }
    assert described({"network": network}) == network
