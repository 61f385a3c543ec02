"""A ticket from two checkpoints: masks of a pruned network and the initial weights it was trained from."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lth.tickets.formats._thinning import index_maps, widen
from lth.tickets.formats.content import Content
from lth.tickets.formats.scope import complete, from_zeros, scope
from lth.tickets.ticket import Ticket

FORMS = ("masked", "thinned")


def extract(
    initial: Content,
    trained: Content,
    allow_zeros: bool = False,
    include: Sequence[str] = ("*",),
    exclude: Sequence[str] = (),
    rewind_step: int | None = None,
    form: str = "masked",
) -> Ticket:
    """The masks of `trained` with the whole state of `initial`, buffers included.

    initial: the untrained network, or the one at `rewind_step`
    trained: the pruned network
    allow_zeros: without stored masks, prune the weights that are exactly zero in `trained`
    include, exclude: globs that choose the prunable weights by name
    rewind_step: number of steps `initial` was trained for; without it a trained `initial` is refused
    form: for a thinned network; `masked` gives a ticket of the original shapes in which removed weights are pruned,
        `thinned` one of the small network

    Raises ValueError for a trained `initial`, for names or shapes that differ, and for missing masks.
    """
    if form not in FORMS:
        raise ValueError(f"form={form!r} is not one of {FORMS}")
    if initial.trained and rewind_step is None:
        raise ValueError(
            f"the initial weights are trained: {initial.trained}; if that is intended, give rewind_step (--rewind-step)"
        )
    _check_names(initial, trained)
    maps = index_maps({n: w.shape for n, w in initial.weights.items()}, trained.recipes)
    _check_shapes(initial.weights, trained.weights, maps)
    names = scope(initial.weights, include, exclude)
    masks, weights = _masks(trained, maps, names, allow_zeros), initial.weights
    if form == "thinned":
        weights = {n: w.flatten()[maps[n]] if n in maps else w for n, w in weights.items()}
    else:
        masks = _widened(masks, weights, maps, names)
    header = {
        **_network(initial, trained),
        "method": "extract",
        "step": rewind_step or 0,
        "masks_from": "zeros" if trained.masks is None else "stored masks",
        "form": form if maps else None,
        "initial": dict(initial.source),
        "parent": dict(trained.source),
    }
    return Ticket(complete(masks, weights, names), {name: weight.clone() for name, weight in weights.items()}, header)


def _masks(
    trained: Content, maps: Mapping[str, Tensor], names: Sequence[str], allow_zeros: bool
) -> Mapping[str, Tensor]:
    """The stored masks, or else the zeros. A thinned network may have no zeros: its pruned weights were removed."""
    if trained.masks is not None:
        return trained.masks
    if not allow_zeros:
        raise ValueError("the trained checkpoint stores no masks; allow zeros to read exact zeros as pruned weights")
    if maps:
        return {name: trained.weights[name] != 0 for name in names}
    return from_zeros(trained.weights, names)


def _widened(
    masks: Mapping[str, Tensor], originals: Mapping[str, Tensor], maps: Mapping[str, Tensor], names: Sequence[str]
) -> dict[str, Tensor]:
    """Masks of the original shapes, for prunable weights only: other cut tensors need no mask."""
    wide = dict(masks)
    for name in names:
        if name in maps:
            small = masks.get(name, torch.ones(maps[name].shape))
            wide[name] = widen(small, maps[name], originals[name].shape)
    return {n: mask for n, mask in wide.items() if n in names or n not in maps}


def _check_names(initial: Content, trained: Content) -> None:
    initial.check("extract")
    missing = [n for n in initial.weights if n not in trained.weights]
    extra = [n for n in trained.weights if n not in initial.weights]
    if missing or extra:
        raise ValueError(
            f"the checkpoints differ in names: only in the initial one {missing}, only in the trained one {extra}"
        )


def _check_shapes(initial: Mapping[str, Tensor], trained: Mapping[str, Tensor], maps: Mapping[str, Tensor]) -> None:
    for name, weight in initial.items():
        expected = maps[name].shape if name in maps else weight.shape
        if trained[name].shape != expected:
            why = (
                "its thinning recipe gives that shape"
                if maps
                else "it was thinned, but stores no recipe of what was cut"
            )
            raise ValueError(f"{name} is {tuple(trained[name].shape)}, not {tuple(expected)}: {why}")


def _network(initial: Content, trained: Content) -> dict[str, object]:
    """The header entries that describe the network, if one of the two is a ticket of lth."""
    headers = [content.header for content in (initial, trained) if content.header.get("network")]
    return (
        {key: headers[0][key] for key in ("network", "model", "dataset", "seeds") if key in headers[0]}
        if headers
        else {}
    )
