"""Every layout returns the masks stored in the file; no code in a file is run; nothing is guessed."""

import json

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from lth.pruning.masks import fingerprint
from lth.tickets import Ticket
from lth.tickets.formats._names import plain, unheld
from lth.tickets.formats._safely import load
from lth.tickets.formats.content import read
from lth.tickets.layouts import LAYOUTS
from tests.support.foreign_files import bombs, distiller, masks_of, net, numpy_masks


def same(ticket, masks, weights):
    assert fingerprint(ticket.masks) == fingerprint(masks)
    assert fingerprint(ticket.weights) == fingerprint(weights)


def masked_state(masks):
    return {n: w * masks[n] if n in masks else w for n, w in net().state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "net.", "model."])
def test_the_real_torch_prune_is_read_under_every_wrapper(prefix, tmp_path):
    pruned, masks = net(), masks_of()
    for name, mask in masks.items():
        prune.custom_from_mask(pruned.get_submodule(name.rpartition(".")[0]), "weight", mask)
    torch.save({f"{prefix}{n}": w for n, w in pruned.state_dict().items()}, tmp_path / "a.pth")
    same(LAYOUTS["torch_prune"].read(tmp_path / "a.pth"), masks, net().state_dict())


def test_after_prune_remove_zeros_are_read_only_on_request(tmp_path):
    masks = masks_of()
    state = masked_state(masks)
    state["bn.bias"].zero_()  # a parameter that is zero by chance is not pruned
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"stores no masks; after prune.remove only zeros"):
        LAYOUTS["torch_prune"].read(tmp_path / "a.pth")
    ticket = LAYOUTS["torch_prune"].read(tmp_path / "a.pth", allow_zeros=True)
    assert fingerprint(ticket.masks) == fingerprint(masks)


def test_torch_ao_parametrizations_are_read(tmp_path):
    state, masks = net().state_dict(), masks_of()
    for name, mask in masks.items():
        layer = name.rpartition(".")[0]
        state[f"{layer}.parametrizations.weight.original"] = state.pop(name)
        state[f"{layer}.parametrizations.weight.0.mask"] = mask
    torch.save(state, tmp_path / "a.pth")
    found = read(tmp_path / "a.pth")
    assert fingerprint(found.masks) == fingerprint(masks)
    assert fingerprint(found.weights) == fingerprint(net().state_dict())


def test_an_open_lth_level_is_read_and_checked_against_its_report(tmp_path):
    masks = masks_of()
    torch.save({n: m.int() for n, m in masks.items()}, tmp_path / "mask.pth")
    torch.save(net().state_dict(), tmp_path / "model_ep0_it0.pth")
    kept, total = sum(int(m.sum()) for m in masks.values()), sum(m.numel() for m in masks.values())
    report = tmp_path / "sparsity_report.json"
    report.write_text(json.dumps({"total": float(total), "unpruned": float(kept)}))
    same(LAYOUTS["open_lth"].read(tmp_path), masks, net().state_dict())
    same(LAYOUTS["open_lth"].read(tmp_path / "mask.pth"), masks, net().state_dict())
    report.write_text(json.dumps({"total": float(total), "unpruned": float(kept + 1)}))
    with pytest.raises(ValueError, match=r"sparsity_report.json says"):
        LAYOUTS["open_lth"].read(tmp_path)


def test_an_open_lth_checkpoint_of_a_pruned_model_is_read(tmp_path):
    masks = masks_of()
    state = {f"model.{n}": w for n, w in net().state_dict().items()}
    state |= {f"mask_{n.replace('.', '___')}": m.float() for n, m in masks.items()}
    torch.save(
        {"ep": 3, "it": 5, "model_state_dict": state, "optimizer_state_dict": {}, "logger": "a\nb"},
        tmp_path / "checkpoint.pth",
    )
    same(LAYOUTS["open_lth"].read(tmp_path / "checkpoint.pth"), masks, net().state_dict())
    assert read(tmp_path / "checkpoint.pth").trained == "ep=3"


def test_turboprune_weights_are_dense_and_its_linear_layers_squeezed(tmp_path):
    masks = masks_of()
    level = {**net(5).state_dict(), **{n.replace("weight", "mask"): m.float() for n, m in masks.items()}}
    init = {**net().state_dict(), **{n.replace("weight", "mask"): torch.ones(m.shape) for n, m in masks.items()}}
    for state in (level, init):
        for key in ("fc.weight", "fc.mask"):
            state[key] = state[key].unsqueeze(2)
    torch.save(level, tmp_path / "model_level_3.pt")
    torch.save(init, tmp_path / "model_init.pt")
    same(
        LAYOUTS["turboprune"].read(tmp_path / "model_level_3.pt", tmp_path / "model_init.pt"), masks, net().state_dict()
    )


def test_a_distiller_checkpoint_is_read_with_its_optimizers_class_left_behind(tmp_path):
    masks = masks_of()
    pruned = distiller(tmp_path / "pruned.pth.tar", masked_state(masks), masks, epoch=179, steps=True)
    untrained = distiller(tmp_path / "untrained.pth.tar", net().state_dict(), None)
    ticket = LAYOUTS["distiller"].read(pruned, untrained)
    same(ticket, masks, net().state_dict())
    assert ticket.header["step"] == 0
    assert "optimizer" not in json.dumps(ticket.header)


def test_only_masked_layers_of_distiller_are_in_the_ticket(tmp_path):
    masks = {"conv.weight": masks_of()["conv.weight"]}
    path = distiller(tmp_path / "a.pth", net().state_dict(), masks)
    assert list(LAYOUTS["distiller"].read(path).masks) == ["conv.weight"]


def test_a_lightning_checkpoint_is_read_below_its_prefix(tmp_path):
    masks = masks_of()
    state = {f"backbone.{n}": w for n, w in net().state_dict().items()} | {"accuracy.total": torch.tensor(3)}
    torch.save({"state_dict": state, "masks": masks, "global_step": 9, "epoch": 1}, tmp_path / "a.ckpt")
    ticket = LAYOUTS["lightning"].read(tmp_path / "a.ckpt", prefix="backbone.")
    same(ticket, masks, net().state_dict())
    assert ticket.header["import"]["trained"] == "global_step=9"
    with pytest.raises(ValueError, match=r"masks do not fit the weights: unknown \['conv.weight', 'fc.weight'\]"):
        LAYOUTS["lightning"].read(tmp_path / "a.ckpt")
    with pytest.raises(ValueError, match=r"no name begins with prefix='head.'"):
        LAYOUTS["lightning"].read(tmp_path / "a.ckpt", prefix="head.")


def scored():
    state, random = net().state_dict(), torch.Generator().manual_seed(4)
    for name in ("conv", "fc"):
        shape = state[f"{name}.weight"].shape
        state[f"{name}.scores"] = torch.rand(shape, generator=random) * 2 - 0.5
        state[f"{name}.flag"] = (torch.rand(shape, generator=random) > 0.3).float()
        state[f"{name}.bias_flag"] = state[f"{name}.bias_scores"] = torch.ones(1)
    return state


@pytest.mark.parametrize(("algorithm", "rule"), [
    ("hc_iter", lambda flag, score: (flag == 1) & (score > 0.5)),
    ("hc", lambda flag, score: (flag == 1) & (score.round() == 1)),
    ("smart_ratio", lambda flag, score: flag == 1),
    ("ep", lambda flag, score: score.abs() >= score.abs().flatten().sort().values[int(0.7 * score.numel())]),
])  # fmt: skip
def test_rare_gems_are_read_by_the_algorithm_named(algorithm, rule, tmp_path):
    state = scored()
    torch.save(state, tmp_path / "model.pt")
    density = 0.3 if algorithm == "ep" else None
    ticket = LAYOUTS["rare_gems"].read(tmp_path / "model.pt", algorithm=algorithm, density=density)
    same(
        ticket,
        {f"{n}.weight": rule(state[f"{n}.flag"], state[f"{n}.scores"]) for n in ("conv", "fc")},
        net().state_dict(),
    )


def test_a_global_edge_popup_keeps_what_is_above_the_cth_smallest(tmp_path):
    state = scored()
    torch.save(state, tmp_path / "model.pt")
    ticket = LAYOUTS["rare_gems"].read(tmp_path / "model.pt", algorithm="global_ep", density=0.25)
    assert ticket.kept == ticket.total - -(-ticket.total * 3 // 4)


def test_hidden_networks_need_the_rate_that_is_not_stored(tmp_path):
    torch.save(
        {"epoch": 3, "arch": "cResNet18", "state_dict": scored(), "best_acc1": np.float64(91.2)}, tmp_path / "a.pth"
    )
    with pytest.raises(ValueError, match=r"density=None: an edge-popup checkpoint needs the fraction"):
        LAYOUTS["hidden_networks"].read(tmp_path / "a.pth")
    with pytest.raises(ValueError, match="density=50"):
        LAYOUTS["hidden_networks"].read(tmp_path / "a.pth", density=50)
    state = {n: w for n, w in scored().items() if "flag" not in n and "bias_" not in n}
    torch.save({"state_dict": state, "best_acc1": np.float64(91.2)}, tmp_path / "a.pth")
    ticket = LAYOUTS["hidden_networks"].read(tmp_path / "a.pth", density=0.5)
    assert {n: int(m.sum()) for n, m in ticket.masks.items()} == {"conv.weight": 18, "fc.weight": 24}
    assert list(ticket.weights) == list(net().state_dict())


def test_the_pickled_masks_of_an_imp_are_read_without_their_class(tmp_path):
    masks = masks_of()
    path = numpy_masks(tmp_path / "round_3_mask.npy", {n: m.float() for n, m in masks.items()})
    torch.save(net().state_dict(), tmp_path / "rewind.pth")
    same(LAYOUTS["rare_gems"].read(path, tmp_path / "rewind.pth"), masks, net().state_dict())
    with pytest.raises(ValueError, match="give the weights of its rewind checkpoint"):
        LAYOUTS["rare_gems"].read(path)


@pytest.mark.parametrize("layout", [name for name, room in LAYOUTS.items() if hasattr(room, "write")])
def test_what_is_written_for_another_program_comes_back_bit_for_bit(layout, tmp_path):
    masks = masks_of()
    LAYOUTS[layout].write(Ticket(masks, net().state_dict()), tmp_path / "there")
    same(LAYOUTS[layout].read(tmp_path / "there"), masks, net().state_dict())


def test_torch_prune_itself_loads_what_is_written_for_it(tmp_path):
    masks = masks_of()
    LAYOUTS["torch_prune"].write(Ticket(masks, net().state_dict()), tmp_path / "a.pth")
    pruned = net(7)
    for name in masks:
        prune.identity(pruned.get_submodule(name.rpartition(".")[0]), "weight")
    pruned.load_state_dict(torch.load(tmp_path / "a.pth", weights_only=True))
    pruned(torch.ones(1, 1, 4, 4))
    assert torch.equal(pruned.fc.weight != 0, masks["fc.weight"])


def test_malicious_files_are_refused_and_never_run(tmp_path):
    mark, files = bombs(tmp_path)
    assert len(files) == 5
    for file in files:
        with pytest.raises(ValueError, match=r"is refused|is damaged") as error:
            read(file)
        assert "\n" not in str(error.value)
        assert not mark.exists(), file


def test_damaged_and_other_files_are_refused_with_one_line(tmp_path):
    torch.save(net().state_dict(), tmp_path / "a.pth")
    sound = (tmp_path / "a.pth").read_bytes()
    for length in [0, 1, 10, 100, *range(200, len(sound), 97), len(sound) - 30]:
        (tmp_path / "b.pth").write_bytes(sound[:length])
        with pytest.raises(ValueError, match=r"b.pth") as error:
            read(tmp_path / "b.pth")
        assert "\n" not in str(error.value)
    for name, text in (("c.pth", "text"), ("d.safetensors", "text"), ("e.npy", "text")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=name):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="no file at"):
        load(tmp_path / "none.pth")
    torch.save([1, 2], tmp_path / "f.pth")
    with pytest.raises(ValueError, match="holds a list, not a dictionary"):
        read(tmp_path / "f.pth")
    torch.save({"epoch": 3}, tmp_path / "f.pth")
    with pytest.raises(ValueError, match=r"holds no weights: its keys are \['epoch'\]"):
        read(tmp_path / "f.pth")


def test_masks_that_are_no_masks_are_refused(tmp_path):
    state = net().state_dict()
    torch.save({**state, "fc.mask": torch.full((3, 16), 0.5)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"the mask of fc.weight \(turboprune\) has values other than 0 and 1"):
        read(tmp_path / "a.pth")
    torch.save(
        {"state_dict": {**state, "fc.mask": torch.ones(3, 16)}, "masks": {"fc.weight": torch.zeros(3, 16)}},
        tmp_path / "a.pth",
    )
    with pytest.raises(ValueError, match=r"masks of fc.weight differ between the encodings \['turboprune', 'lth'\]"):
        read(tmp_path / "a.pth")
    torch.save(
        {"state_dict": state, "masks": {"fc.weight": torch.ones(3, 16), "fc.bias": torch.zeros(3)}}, tmp_path / "a.pth"
    )
    with pytest.raises(ValueError, match=r"these are pruned, but are not prunable weights: \['fc.bias'\]"):
        LAYOUTS["lightning"].read(tmp_path / "a.pth")
    torch.save({"state_dict": state, "masks": {"fc.weight": torch.ones(3, 15)}}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"wrong shape \['fc.weight: mask \(3, 15\), weight \(3, 16\)'\]"):
        LAYOUTS["lightning"].read(tmp_path / "a.pth")


def test_a_file_of_before_torch_0_4_1_gets_the_counters_that_torch_adds(tmp_path):
    old = {name: value for name, value in net().state_dict().items() if name != "bn.num_batches_tracked"}
    torch.save(old, tmp_path / "old.pth")
    assert list(read(tmp_path / "old.pth").weights) == list(net().state_dict())
    net().load_state_dict(dict(read(tmp_path / "old.pth").weights), strict=True)


@pytest.mark.parametrize(
    "wrap", [lambda s: {"net": s, "acc": 93.0}, lambda s: {"model": {"state_dict": s}, "epoch": 9}]
)
def test_a_state_dict_is_found_below_the_keys_of_programs(wrap, tmp_path):
    torch.save(wrap(net().state_dict()), tmp_path / "a.pth")
    assert fingerprint(read(tmp_path / "a.pth").weights) == fingerprint(net().state_dict())


def test_a_whole_module_is_refused_with_what_to_do(tmp_path):
    torch.save(net(), tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"a\.pth is refused: it holds torch\.nn.*save the state_dict\(\) of a module"):
        read(tmp_path / "a.pth")


def test_names_lose_wrappers_and_nothing_else():
    assert list(plain({"module.a.module.weight": 1, "_orig_mod.modules.b": 2})) == ["a.weight", "modules.b"]
    with pytest.raises(ValueError, match=r"occur twice.*\['a'\]"):
        plain({"module.a": 1, "a": 2})
    assert list(unheld({"net.net.a": 1, "net.b": 2})) == ["net.a", "b"]
    assert list(unheld({"net.a": 1, "b": 2})) == ["net.a", "b"]
