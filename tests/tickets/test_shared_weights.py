"""Starting weights that the tickets of a run share: stored once, found again bit for bit, or missed in one line."""

import json
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from lth.cli.ticket.command import main
from lth.pruning.masks import fingerprint
from lth.storage.packing import pack
from lth.tickets import Ticket
from lth.tickets.treatments import TREATMENTS, treated
from tests.support.ticket_samples import contents, refuse, saved, ticket


def of_run(run: Path, level: int, given: Ticket) -> Path:
    path = run / f"level_{level:02d}_x" / "ticket.safetensors"
    given.save(path, run=run)
    return path


def two_of_a_run(run: Path) -> tuple[Path, Path]:
    """Two tickets with the weights of `ticket()`; the second prunes more and relies on the run's file."""
    first = ticket()
    masks = {name: mask & (torch.arange(mask.numel()).view(mask.shape) % 3 > 0) for name, mask in first.masks.items()}
    return of_run(run, 0, first), of_run(run, 1, Ticket(masks, first.weights, {"level": 4}))


def shared_file(run: Path) -> Path:
    (found,) = run.glob("starting_weights_*")
    return found


def stored(path: Path) -> list[str]:
    with safe_open(str(path), framework="pt") as file:
        return sorted(file.keys())


def format_1(given: Ticket, path: Path) -> None:
    """Write a ticket as version 0.1 did: all weights whole, beside the masks."""
    tensors = {f"mask/{name}": pack(mask) for name, mask in given.masks.items()}
    tensors |= {f"weight/{n}": w.detach().contiguous().clone() for n, w in given.weights.items()}
    shapes = {name: list(mask.shape) for name, mask in given.masks.items()}
    own = {"format": "lth-ticket-1", "shapes": shapes, "kept": given.kept, "prunable": given.total}
    own |= {"density": given.density}
    new = ("sha256", "starting_weights", "stored_weights")
    header = {**own, **{key: value for key, value in given.header.items() if key not in new}, **own}
    header = json.loads(json.dumps(header))
    masks = {key: tensor for key, tensor in tensors.items() if key.startswith("mask/")}
    rest = {key: tensor for key, tensor in tensors.items() if key not in masks}
    text = sha256(json.dumps(header, sort_keys=True).encode()).hexdigest()
    header["sha256"] = {"header": text, "masks": fingerprint(masks), "weights": fingerprint(rest)}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, path, metadata={"lth": json.dumps(header)})


def test_the_second_ticket_of_the_same_weights_stores_what_it_keeps(tmp_path: Path):
    first, second = two_of_a_run(tmp_path)
    assert Ticket.load(second).complete
    assert fingerprint(Ticket.load(second).weights) == fingerprint(ticket().weights)
    assert fingerprint(Ticket.load(first).weights) == fingerprint(ticket().weights)
    assert any(key.startswith("rest/") for key in stored(first))
    assert not any(key.startswith(("rest/", "zeros/")) for key in stored(second))
    assert second.stat().st_size < first.stat().st_size
    assert Ticket.load(shared_file(tmp_path).parent / "level_01_x" / "ticket.safetensors").missing == ""


def test_other_weights_and_dense_tickets_make_no_file(tmp_path: Path):
    given = ticket()
    dense = {name: torch.ones_like(mask) for name, mask in given.masks.items()}
    of_run(tmp_path, 0, given)
    of_run(tmp_path, 1, Ticket(dense, given.weights))
    weights = dict(given.weights) | {"head.weight": torch.rand(3, 7)}
    path = of_run(tmp_path, 2, Ticket(given.masks, weights))
    assert not list(tmp_path.glob("starting_weights_*"))
    assert fingerprint(Ticket.load(path).weights) == fingerprint(weights)


def test_a_ticket_that_is_saved_again_shares_with_itself_nothing(tmp_path: Path):
    path = of_run(tmp_path, 0, ticket())
    of_run(tmp_path, 0, Ticket.load(path))
    assert not list(tmp_path.glob("starting_weights_*"))


def test_files_that_no_ticket_needs_are_removed(tmp_path: Path):
    _, second = two_of_a_run(tmp_path)
    path = shared_file(tmp_path)
    own = tmp_path / "starting_weights_mine.safetensors"
    own.write_text("")
    other = tmp_path / f"starting_weights_{'0' * 32}.safetensors"
    other.write_text("")
    sound = second.read_bytes()
    second.write_bytes(sound[:100])
    Ticket.remove_unneeded(tmp_path)  # the damaged ticket may need it
    assert other.exists()
    second.write_bytes(sound)
    Ticket.remove_unneeded(tmp_path)
    assert (path.exists(), own.exists(), other.exists()) == (True, True, False)
    Ticket(Ticket.load(second).masks, {}).save(second)
    Ticket.remove_unneeded(tmp_path)
    assert not path.exists()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float8_e4m3fn])
@pytest.mark.parametrize("kept", range(4))
def test_layers_with_few_kept_weights(kept: int, dtype: torch.dtype, tmp_path: Path):
    mask = torch.arange(3).view(1, 3) < kept
    given = Ticket({"a": mask}, {"a": torch.tensor([[1.0, -0.0, torch.nan]]).to(dtype)}, {})
    for path in (of_run(tmp_path, 0, given), of_run(tmp_path, 1, given)):
        assert fingerprint(Ticket.load(path).weights) == fingerprint(given.weights)
    assert len(list(tmp_path.glob("starting_weights_*"))) == (kept < 3)


def test_zeros_of_pruned_places_are_not_stored(tmp_path: Path):
    weight = torch.zeros(100, 100)
    weight[:3] = 1.5
    weight[4] = -0.0
    mask = torch.zeros(100, 100, dtype=torch.bool)
    mask[:2] = True
    path = tmp_path / "t"
    found = saved(path, Ticket({"a": mask}, {"a": weight}))
    assert fingerprint(found.weights) == fingerprint({"a": weight})
    assert path.stat().st_size < 5000 + 2 * 1250 + 1250


def test_a_ticket_alone_stands_alone(tmp_path: Path):
    path = tmp_path / "t"
    assert contents(saved(path))[1] == fingerprint(ticket().weights)
    assert [file.name for file in tmp_path.iterdir()] == ["t"]


def test_a_copied_ticket_has_the_kept_weights_and_zeros(tmp_path: Path):
    _, second = two_of_a_run(tmp_path / "run")
    whole, copy = Ticket.load(second), tmp_path / "a" / "b" / "copy.safetensors"
    copy.parent.mkdir(parents=True)
    shutil.copy(second, copy)
    found = Ticket.load(copy)
    assert not found.complete
    assert found.missing == shared_file(tmp_path / "run").name
    for name, weight in whole.weights.items():
        kept = found.masks.get(name)
        expected = weight if kept is None else torch.where(kept, weight, torch.zeros((), dtype=weight.dtype))
        assert fingerprint({"": found.weights[name]}) == fingerprint({"": expected})


@pytest.mark.parametrize("place", ["beside it", "above it"])
def test_the_file_may_lie_beside_the_copy_or_above_it(place: str, tmp_path: Path):
    _, second = two_of_a_run(tmp_path / "run")
    copy = tmp_path / "a" / "copy.safetensors"
    copy.parent.mkdir()
    shutil.copy(second, copy)
    shutil.copy(shared_file(tmp_path / "run"), copy.parent if place == "beside it" else tmp_path)
    assert fingerprint(Ticket.load(copy).weights) == fingerprint(ticket().weights)


def test_a_saved_incomplete_ticket_stays_one(tmp_path: Path):
    _, second = two_of_a_run(tmp_path / "run")
    name = shared_file(tmp_path / "run").name
    shutil.move(tmp_path / "run" / name, tmp_path / name)
    Ticket.load(second).save(tmp_path / "again" / "t")
    (tmp_path / name).unlink()
    assert Ticket.load(tmp_path / "again" / "t").missing == name


def test_a_damaged_or_another_file_is_refused_by_its_name(tmp_path: Path):
    _, second = two_of_a_run(tmp_path)
    path = shared_file(tmp_path)
    sound = path.read_bytes()
    begin = 8 + int.from_bytes(sound[:8], "little")
    for at in (3, 20, begin, begin + 7, len(sound) - 1):
        path.write_bytes(sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :])
        with pytest.raises(ValueError, match=f"^{path} is damaged: [^\n]*$"):
            Ticket.load(second)
        assert not Ticket.load(second, weights=False).weights
    path.write_bytes(sound[:-9])
    with pytest.raises(ValueError, match=f"^{path} is damaged"):
        Ticket.load(second)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match=f"^{path} is damaged"):
        Ticket.load(second)


def test_header_and_masks_are_read_without_the_weights(tmp_path: Path):
    _, second = two_of_a_run(tmp_path)
    whole = Ticket.load(second)
    shared_file(tmp_path).write_bytes(b"x")  # not read
    found = Ticket.load(second, weights=False)
    assert (found.header, found.weights) == (whole.header, {})
    assert fingerprint(found.masks) == fingerprint(whole.masks)
    damaged = bytearray(second.read_bytes())
    damaged[-1] ^= 1  # of a mask or a weight
    second.write_bytes(damaged)
    refuse(second, "checksum")


def test_format_1_is_read(tmp_path: Path):
    format_1(ticket(), tmp_path / "t")
    found = Ticket.load(tmp_path / "t")
    assert found.complete
    assert found.header["format"] == "lth-ticket-1"
    assert fingerprint(found.weights) == fingerprint(ticket().weights)
    assert fingerprint(found.masks) == fingerprint(ticket().masks)
    again = saved(tmp_path / "again", found)
    assert again.header["format"] == "lth-ticket-2"
    assert fingerprint(again.weights) == fingerprint(found.weights)


@pytest.mark.parametrize("name", sorted(TREATMENTS))
def test_treatments_that_need_pruned_places_refuse_an_incomplete_ticket(name: str):
    masks = {"weight": torch.arange(160).view(10, 16) % 3 == 0}
    weights = {"weight": torch.arange(1.0, 161).view(10, 16), "bias": torch.ones(10)}
    lost = {**weights, "weight": torch.where(masks["weight"], weights["weight"], 0)}

    def draw(seed: int) -> torch.nn.Module:
        torch.manual_seed(seed)
        return torch.nn.Linear(16, 10)

    given = {"draw": draw, "seed": 1, "scores": {"weight": torch.rand(10, 16)}}
    whole = treated(TREATMENTS[name], Ticket(masks, weights), **given)
    incomplete = Ticket(masks, lost, {}, "starting_weights_x.safetensors")
    if name not in ("none", "reinit"):
        with pytest.raises(ValueError, match=f"^treatment={name} needs .*starting_weights_x.*--complete[^\n]*$"):
            treated(TREATMENTS[name], incomplete, **given)
        return
    found = treated(TREATMENTS[name], incomplete, **given)
    assert found.missing == ("starting_weights_x.safetensors" if name == "none" else "")
    assert fingerprint(found.masks) == fingerprint(whole.masks)
    kept = {n: torch.where(masks[n], w, 0) if n in masks else w for n, w in whole.weights.items()}
    assert fingerprint({n: torch.where(masks[n], w, 0) if n in masks else w for n, w in found.weights.items()}) == (
        fingerprint(kept)
    )


def test_signs_of_pruned_places_are_refused_too():
    masks, weights = {"weight": torch.eye(3) > 0}, {"weight": torch.eye(3), "bias": torch.ones(3)}
    incomplete = Ticket(masks, weights, {}, "starting_weights_x.safetensors")

    def keep_signs(masks, weights, **given):
        return TREATMENTS["reinit"](masks, weights, keep_signs=True, **given)

    with pytest.raises(ValueError, match="starting_weights_x"):
        treated(keep_signs, incomplete, draw=lambda _: torch.nn.Linear(3, 3))


def test_export_complete_writes_a_ticket_that_stands_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    _, second = two_of_a_run(tmp_path / "run")
    alone = tmp_path / "elsewhere" / "alone.safetensors"
    main(["export", str(second), "--complete", "--out", str(alone)])
    assert "a ticket with all starting weights" in capsys.readouterr().out
    assert contents(Ticket.load(alone))[:2] == contents(Ticket.load(second))[:2]
    assert Ticket.load(alone).complete


@pytest.mark.parametrize("command", ["export --complete", "export --format open_lth", "treat --treatment random"])
def test_commands_that_need_all_weights_refuse_an_incomplete_ticket(command: str, tmp_path: Path):
    _, second = two_of_a_run(tmp_path / "run")
    name = shared_file(tmp_path / "run").name
    (tmp_path / "run" / name).unlink()
    verb, *options = command.split()
    with pytest.raises(SystemExit) as error:
        main([verb, str(second), *options, "--out", str(tmp_path / "out" / "x")])
    assert name in str(error.value)
    assert str(second) in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_show_says_what_a_ticket_lacks(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    weights = {"weight": torch.rand(4, 4), "bias": torch.rand(4)}
    for level, density in enumerate((3, 2)):
        mask = torch.arange(16).view(4, 4) % 4 < density
        second = of_run(tmp_path / "run", level, Ticket({"weight": mask}, weights))
    main(["show", str(second)])
    assert "without the weights" not in capsys.readouterr().out
    name = shared_file(tmp_path / "run").name
    (tmp_path / "run" / name).unlink()
    main(["show", str(second)])
    assert f"the weights of pruned places are missing: there is no {name} here" in capsys.readouterr().out


def test_a_ticket_of_masks_alone_says_why_nothing_starts_from_it(tmp_path: Path):
    given = Ticket(ticket().masks, {}, {"removed": "keep=results"})
    found = saved(tmp_path / "t", given)
    with pytest.raises(ValueError, match="t has no weights to start from: keep=results"):
        found.check_weights(tmp_path / "t")
    assert not found.complete
