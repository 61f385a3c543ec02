"""The thinned file and `lth ticket thin`: smaller network, same outputs, indices of the original."""

import pytest
import torch

from lth.cli.ticket.command import main
from lth.networks import resnet20
from lth.pruning import Masks
from lth.pruning.masks import fingerprint
from lth.pruning.structured.thin import _output_difference
from lth.tickets import Ticket
from lth.tickets.formats.content import read
from lth.tickets.formats.extract import extract
from lth.tickets.thinned import ThinnedFile
from tests.cli.test_ticket_tool import RESNET, refuses
from tests.pruning.structured.test_coupling import pruned, trained_like

pytestmark = pytest.mark.slow

SHAPE = 3, 32, 32


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A ticket whose masks prune half of the filters, and a trained checkpoint with the same masks."""
    folder = tmp_path_factory.mktemp("thin")
    torch.manual_seed(0)
    initial = resnet20(10, 3, 32)
    torch.save(initial.state_dict(), folder / "initial.pt")
    net = trained_like(resnet20(10, 3, 32))
    masks, _ = pruned(net, 0.5, SHAPE)
    Ticket(masks.bools(), initial.state_dict(), {"network": RESNET}).save(folder / "ticket")
    torch.save({"state_dict": net.state_dict(), "masks": masks.bools(), "global_step": 9}, folder / "trained.ckpt")
    (folder / "network.yaml").write_text("\n".join(f"{key}: {value}" for key, value in RESNET.items()))
    return folder, net, masks


def test_the_tool_thins_a_ticket_and_says_what_became_smaller(files, tmp_path, capsys):
    folder, _, masks = files
    main(["thin", str(folder / "ticket"), "--output", str(tmp_path / "thin")])
    text = capsys.readouterr().out
    small = ThinnedFile.load(tmp_path / "thin")
    left = sum(mask.numel() for mask in small.masks.values())
    assert left == masks.kept
    for number in (272_474, 270_896, masks.kept, 40_813_184, (tmp_path / "thin").stat().st_size):
        assert f"{number:,}" in text
    assert (tmp_path / "thin").stat().st_size < 0.4 * (folder / "ticket").stat().st_size


def test_a_thinned_checkpoint_loads_on_its_own_and_computes_the_same(files, tmp_path):
    folder, net, _ = files
    arguments = [folder / "trained.ckpt", "--network", folder / "network.yaml", "--output", tmp_path / "thin"]
    main(["thin", *map(str, arguments)])
    file = ThinnedFile.load(tmp_path / "thin")
    small = file.fill_(resnet20(10, 3, 32))
    assert _output_difference(net, small, SHAPE) <= 1e-5
    assert small.layer2[1].conv1.out_channels == 16
    assert fingerprint(small.state_dict()) == fingerprint(file.weights)
    with pytest.raises(ValueError, match="does not fit ResNet"):
        file.fill_(resnet20(10, 3, 32, widths=(8, 16, 32)))


def test_a_ticket_is_extracted_from_a_thinned_file_through_its_indices(files, tmp_path):
    folder, _, masks = files
    arguments = [folder / "trained.ckpt", "--network", folder / "network.yaml", "--output", tmp_path / "thin"]
    main(["thin", *map(str, arguments)])
    initial, small = read(folder / "initial.pt"), read(tmp_path / "thin")
    ticket = extract(initial, small)
    assert fingerprint(ticket.masks) == fingerprint(masks.bools())
    assert fingerprint(ticket.weights) == fingerprint(initial.weights)
    assert ticket.header["step"] == 0
    whole = extract(initial, read(folder / "trained.ckpt"))
    assert fingerprint(whole.masks) == fingerprint(ticket.masks)
    cut = extract(initial, small, form="thinned")
    assert cut.weights["layer2.1.conv1.weight"].shape == (16, 16, 3, 3)


def test_what_cannot_be_thinned_is_refused_in_one_line(files, tmp_path):
    folder, net, _ = files
    out = tmp_path / "thin"
    refuses("--network FILE", "thin", folder / "trained.ckpt", "--output", out)
    refuses("stores no masks", "thin", folder / "initial.pt", "--network", folder / "network.yaml", "--output", out)
    main(["thin", str(folder / "ticket"), "--output", str(out)])
    refuses("thinned already", "thin", out, "--output", tmp_path / "again")
    ones = Masks.ones(net)
    ones["layer1.0.conv1.weight"][:4] = 0
    torch.save({"state_dict": trained_like(resnet20(10, 3, 32)).state_dict(), "masks": ones.bools()}, tmp_path / "c.pt")
    refuses("whole_units=true", "thin", tmp_path / "c.pt", "--network", folder / "network.yaml", "--output", out)
    (tmp_path / "no").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="not a thinned file"):
        ThinnedFile.load(tmp_path / "no")
