"""Directions of other projects: torch, npy, npz and pickle files, and GANSpace's components."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faceloom.checkpoints.inert import quoted
from faceloom.checkpoints.reader import read_tree, reading
from faceloom.checkpoints.recognize import describe
from faceloom.checkpoints.safetensors_files import looks_like_safetensors, read_safetensors
from faceloom.checkpoints.spans import Span
from faceloom.checkpoints.tensors import StoredTensor
from faceloom.directions.anchors import DirectionWarning, attribute_of, check_directions
from faceloom.directions.direction import Direction, DirectionSet
from faceloom.directions.style_layout import is_in_s, layouts_of, whole_styles, without_colours
from faceloom.errors import DirectionError
from faceloom.generators.protocol import Generator
from faceloom.recipe import MAX_AMOUNT

OPTIONS = frozenset(
    (
        "all-faces",
        "balance",
        "degree",
        "device",
        "edit",
        "face",
        "fidelity",
        "format",
        "from",
        "help",
        "inversion",
        "json",
        "keep",
        "model",
        "no-provenance",
        "out",
        "output",
        "paste",
        "photo",
        "preset",
        "quality",
        "rate",
        "recipe",
        "save-recipe",
        "seconds",
        "sheet",
        "sticker",
        "strength",
        "to",
        "twin",
        "whole",
    )
)
"""What `edit`, `batch`, `render`, `animate` and `morph` understand themselves: no direction is called so."""

UNKNOWN = "unknown"
"""The fingerprint of directions of which nobody has said what generator they are for."""

_SUFFIXES = frozenset({".npy", ".npz", ".pkl", ".pickle", ".pt", ".pth", ".safetensors"})
_RANGE = (-3.0, 3.0)
_MOST = 512
_WIDEST = 4096
_USUAL_WIDTH = 512
_LAYER_COUNTS = range(4, 21, 2)
"""Style layers of generators of 8 to 2048 pixels; those of StyleGAN3 have 16."""
_NO_NAMES = frozenset({"arr_0", "boundary", "data", "delta", "direction", "vector"})
"""Names of the only array of a file that say nothing about it."""
_CODES = frozenset({"w", "latent", "latents", "wplus", "w_plus", "codes"})
_COMPONENTS = (("comp", "std"), ("lat_comp", "lat_stdev"))
"""GANSpace's components and their standard deviations: as converted to PyTorch, and in its own files."""


@dataclass(frozen=True, eq=False)
class _Published:
    """A direction as its file has it.

    Attributes:
        name: one word.
        rows: (layers, w_dim), where one row stands for all layers; or (channels,) of S, all modulated layers.
        layers, range, words: what the file says of it, if anything.
        unit: what an amount of 1 is.
        note: what the file says that one should know.
        bend: of the shape of `rows`, as a direction has it.
    """

    name: str
    rows: Tensor
    layers: tuple[int, int] | None = None
    range: tuple[float, float] | None = None
    words: tuple[str, str] | None = None
    unit: str = "the vector as published"
    note: str = ""
    bend: Tensor | None = None


@dataclass(frozen=True, eq=False)
class _Source:
    """What was read from one file."""

    published: list[_Published]
    fingerprint: str = UNKNOWN
    info: dict[str, Any] = field(default_factory=dict)


def load_directions(
    path: str | Path, *, generator: Generator | None = None, anchors: DirectionSet | None = None
) -> DirectionSet:
    """Load directions: Faceloom's own, or those that other projects publish. Nothing in a file is executed.

    Knows files of torch.save, npy, npz, safetensors and pickles that hold one direction or several by name, in W
    (w_dim numbers, one vector for all layers), W+ (one vector for each layer, flat or not) or S (a vector for each
    modulated layer, as a list or end to end, with those of the toRGB layers or without), and the components of GANSpace
    (Härkönen et al. 2020). A direction is named after its file, or after its entry in it: `Hair_Length.npy`
    gives "hair-length"; components are called "pc0", "pc1" and so on.

    One unit of an amount is the vector as published, usually of length 1 in each layer, and not one standard deviation
    of the attribute as in directions of Faceloom. One unit of a component is its standard deviation in W. `range` is
    -3 to 3 where nothing better is known.

    Args:
        path: a file, or a folder of them.
        generator: what the directions are to be used with. They are brought to its number of layers: vectors in W are
            repeated; of vectors in W+ the coarse layers that both have are kept, with a DirectionWarning. Without it,
            vectors in W stay one row (1, w_dim), which acts on all layers of whatever code it is added to, and the
            set's fingerprint is "unknown".
        anchors: directions known to work in this generator. A direction that disagrees with the one of the same
            attribute, or has the opposite sign, gives a DirectionWarning; see `check_directions`.

    Raises:
        CheckpointError: if a file is missing, damaged or hostile, or holds Python objects.
        DirectionError: if a file holds something else than directions, saying what it looks like, or directions that
            cannot be of this generator.
    """
    path = Path(path)
    sources = [_read(file, generator) for file in direction_files(path)]
    with _naming(path):
        published = [one for source in sources for one in source.published]
        directions, notes = _fit(published, generator)
        for note in notes:
            warnings.warn(note, DirectionWarning, stacklevel=2)
        fingerprint = generator.fingerprint if generator else _shared_fingerprint(sources)
        info = sources[0].info if len(sources) == 1 else {"folder": path.name, "unit": "as published"}
        loaded = DirectionSet(directions, fingerprint, {**info, "notes": notes} if notes else info)
        for finding in check_directions(loaded, anchors) if anchors else ():
            if finding.kind != "fine":
                warnings.warn(str(finding), DirectionWarning, stacklevel=2)
    return loaded


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Let errors about directions name the file."""
    try:
        yield
    except DirectionError as error:
        raise DirectionError(f"{quoted(path.name, 200)}: {error}") from None


def direction_files(path: Path) -> list[Path]:
    """The files that `load_directions` reads of a folder; the path itself where it is none."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES and file.is_file())
    if not files:
        raise DirectionError(f"the folder {quoted(str(path), 200)} has no direction files (.pt, .npy, .npz and others)")
    return files


def _shared_fingerprint(sources: Sequence[_Source]) -> str:
    fingerprints = {source.fingerprint for source in sources}
    if len(fingerprints - {UNKNOWN}) > 1:
        raise DirectionError("its files were made for different generators; load them one by one")
    return fingerprints.pop() if len(fingerprints) == 1 else UNKNOWN


def _read(path: Path, generator: Generator | None) -> _Source:
    with reading(path), _naming(path):
        span = Span.of_file(path)
        if looks_like_safetensors(span) and "faceloom" in read_safetensors(span).metadata:
            return _native(path, generator)
        tree = read_tree(span)
        published = _published(tree, word_of(path.stem), generator)
        return _Source(published, info={"file": path.name, "unit": "as published"})


def _native(path: Path, generator: Generator | None) -> _Source:
    stored = DirectionSet.load(path)
    if generator and stored.fingerprint != UNKNOWN:
        stored.check_generator(generator.fingerprint)
    for one in stored:
        if one.space == "w+":
            _check_width(one.vector.shape[1], generator)
    published = [
        _Published(
            name=one.name,
            rows=one.vector,
            layers=one.layers if one.space == "w+" and len(one.vector) > 1 else None,
            range=one.range,
            words=(one.low, one.high),
            unit=one.unit,
            note=one.note,
            bend=one.bend,
        )
        for one in stored
    ]
    return _Source(published, stored.fingerprint, stored.info)


def word_of(text: str) -> str:
    """One word, as on the command line: "stylegan_ffhq_Age_boundary" gives "stylegan-ffhq-age".

    One that is an option of the command line's has "-direction" behind it: `--quality 3` would never reach it.
    """
    word = re.sub(r"[\W_]+", "-", quoted(text, 64).casefold()).strip("-")
    word = re.sub(r"-(boundary|directions?)$", "", word) or "direction"
    return f"{word}-direction" if word in OPTIONS else word


def _published(tree: Any, name: str, generator: Generator | None) -> list[_Published]:
    if isinstance(tree, list | tuple) and len(tree) == 1:
        tree = tree[0]
    if isinstance(tree, StoredTensor):
        return [_Published(name, _rows(tree, generator))]
    if isinstance(tree, dict):
        for comp, std in _COMPONENTS:
            if comp in tree:
                return _ganspace(tree, comp, std, name, generator)
        return _by_names(tree, name, generator)
    if isinstance(tree, list | tuple) and tree:
        return [_Published(name, _styles(tree, generator))]
    raise DirectionError(f"this looks like {describe(tree)}; no direction was found in it")


def _by_names(tree: Mapping[Any, Any], name: str, generator: Generator | None) -> list[_Published]:
    if not tree:
        raise DirectionError("this is an empty dictionary; no direction is in it")
    odd = [key for key, value in tree.items() if not isinstance(value, StoredTensor) or not _is_plain(key)]
    if odd or _CODES & set(tree):
        raise DirectionError(f"this looks like {describe(tree)}; no direction was found in it")
    if len(tree) > _MOST:
        raise DirectionError(f"this holds {len(tree)} arrays, more than directions come in")
    if len(tree) == 1 and next(iter(tree)).casefold() in _NO_NAMES:
        return [_Published(name, _rows(next(iter(tree.values())), generator))]
    return [_Published(word_of(key), _rows(value, generator)) for key, value in tree.items()]


def _is_plain(key: object) -> bool:
    """Whether a key may name a direction; weights of networks have paths for names."""
    return isinstance(key, str) and not re.search(r"[./]", key)


def _ganspace(tree: Mapping[Any, Any], comp: str, std: str, name: str, generator: Generator | None) -> list[_Published]:
    """All components of a decomposition, or the one that GANSpace's viewer exported under a name."""
    components, deviations = tree[comp], tree.get(std)
    if not isinstance(components, StoredTensor):
        raise DirectionError(f"the components {comp!r} of GANSpace are not an array")
    if str(tree.get("latent_space", "W")).upper() != "W":
        raise DirectionError(f"this component of GANSpace is of {quoted(str(tree['latent_space']))}, not of W")
    if not isinstance(deviations, StoredTensor):
        return [_exported(tree, components, deviations, name, generator)]
    shape = components.shape
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[1] != 1) or not 1 <= shape[0] <= _MOST:
        raise DirectionError(f"components of GANSpace have the shape (count, 1, w_dim), not {shape}")
    if math.prod(deviations.shape) != shape[0]:
        raise DirectionError(f"there are {shape[0]} components, but {math.prod(deviations.shape)} standard deviations")
    _check_width(shape[-1], generator)
    vectors = _values(components).reshape(shape[0], 1, shape[-1])
    scales = _values(deviations).reshape(-1, 1, 1)
    if std == "lat_stdev" and shape[0] > 1 and bool((scales == 1).all()):
        raise DirectionError("its components are of Z, as their standard deviations are all 1; make them with use_w")
    unit = "one standard deviation of the component"
    return [_Published(f"pc{index}", vector, unit=unit) for index, vector in enumerate(vectors * scales)]


def _exported(
    tree: Mapping[Any, Any], component: StoredTensor, deviation: object, name: str, generator: Generator | None
) -> _Published:
    scale, reach = _number(deviation, 1.0), abs(_number(tree.get("sigma_range"), _RANGE[1]))
    start, end = tree.get("edit_start"), tree.get("edit_end")
    layers = (start, end) if type(start) is int and type(end) is int and 0 <= start < end else None
    title = tree.get("name")
    reach = min(reach, MAX_AMOUNT) or _RANGE[1]
    rows = _rows(component, generator) * scale
    return _Published(word_of(title) if isinstance(title, str) else name, rows, layers, (-reach, reach))


def _number(value: object, otherwise: float) -> float:
    number = float(value) if isinstance(value, int | float) else otherwise
    return number if math.isfinite(number) else otherwise


def _rows(stored: StoredTensor, generator: Generator | None) -> Tensor:
    """The vectors of one direction (layers, w_dim), or (channels,) of S, whatever way they lie in an array."""
    shape = stored.shape
    while len(shape) > 1 and shape[0] == 1:
        shape = shape[1:]
    if not shape or 0 in shape:
        raise DirectionError(f"an array of shape {stored.shape} is no direction")
    if is_in_s(shape, generator):
        return whole_styles(_values(stored).flatten(), layouts_of(generator))
    if len(shape) == 1:
        layers = _layers_of_flat(shape[0], generator)
        shape = (layers, shape[0] // layers)
    if len(shape) > 2 or not _is_layers(shape[0], generator):
        raise DirectionError(
            f"an array of shape {stored.shape} is no single direction, but may be many, or many latent codes; a "
            "direction has one vector, or one for each style layer"
        )
    _check_width(shape[1], generator)
    return _values(stored).reshape(shape)


def _layers_of_flat(size: int, generator: Generator | None) -> int:
    if size != _USUAL_WIDTH and generator and size == generator.num_ws * generator.w_dim:
        return generator.num_ws
    return size // _USUAL_WIDTH if size % _USUAL_WIDTH == 0 else 1


def _is_layers(count: int, generator: Generator | None) -> bool:
    return count == 1 or count in _LAYER_COUNTS or (generator is not None and count == generator.num_ws)


def _check_width(width: int, generator: Generator | None) -> None:
    if generator and width != generator.w_dim:
        raise DirectionError(
            f"its vectors have {width} numbers (w_dim), the latents of this generator {generator.w_dim}: "
            "it was made for another generator"
        )
    if not 2 <= width <= _WIDEST:
        raise DirectionError(f"its vectors have {width} numbers; no generator has such latents")


def _values(stored: StoredTensor) -> Tensor:
    if not stored.dtype.is_floating_point:
        raise DirectionError(f"its numbers are {str(stored.dtype).removeprefix('torch.')}, not floating-point")
    values = stored.read().float()
    if not bool(torch.isfinite(values).all()):
        raise DirectionError("some of its numbers are NaN or infinite; the file is damaged")
    return values


def _styles(parts: Sequence[Any], generator: Generator | None) -> Tensor:
    """A list of the style vectors of each layer, as StyleSpace and StyleCLIP write them, to (channels,)."""
    flat = [part for part in parts if isinstance(part, StoredTensor) and math.prod(part.shape) == max(part.shape)]
    if len(flat) != len(parts):
        raise DirectionError(
            f"this is a list of {len(parts)} things, not one style vector of StyleSpace (S) for each layer; no "
            "direction was found in it"
        )
    sizes = tuple(math.prod(part.shape) for part in flat)
    fitting = [one for one in layouts_of(generator) if sizes in (one, without_colours(one))]
    if not fitting:
        raise DirectionError(
            f"this is a list of {len(parts)} style vectors of StyleSpace (S), but their sizes are not those of "
            f"{'this generator' if generator else 'any StyleGAN2 that is known'}"
        )
    return whole_styles(torch.cat([_values(part).flatten() for part in flat]), fitting)


def _fit(published: Sequence[_Published], generator: Generator | None) -> tuple[list[Direction], list[str]]:
    """Bring directions to the layers of the generator, and say what was lost."""
    names = [one.name for one in published]
    in_w = [one for one in published if one.rows.ndim == 2]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DirectionError(f"two directions are called {twice!r}; rename one")
    widths = {one.rows.shape[1] for one in in_w}
    counts = {len(one.rows) for one in in_w} - {1}
    if len(widths) > 1 or (generator is None and len(counts) > 1):
        raise DirectionError("its directions are of different shapes, so not all of one generator; load them apart")
    layers = generator.num_ws if generator else max(counts, default=1)
    fitted = [_fit_one(one, layers, generator) for one in published]
    return [direction for direction, _ in fitted], [note for _, note in fitted if note]


def _fit_one(one: _Published, layers: int, generator: Generator | None) -> tuple[Direction, str]:
    low, high = one.words or _words(one.name)
    if one.rows.ndim == 1:
        return _in_styles(one, generator, low, high), ""
    # Fitted side by side, so that both end up on the same layers.
    both, note = _to_layers(one.name, one.rows if one.bend is None else torch.cat([one.rows, one.bend], 1), layers)
    vector, bend = both[:, : one.rows.shape[1]], None if one.bend is None else both[:, one.rows.shape[1] :]
    used = one.layers
    if used is not None:
        if generator is None and layers < used[1]:
            raise DirectionError(f"{one.name!r} acts on the layers {used[0]} to {used[1] - 1} only; give the generator")
        vector = _within(vector, used)
        bend = None if bend is None else _within(bend, used)
        used = (min(used[0], layers), min(used[1], layers))
    acting = both.any(dim=1).nonzero().flatten().tolist()
    return Direction(
        name=one.name,
        vector=vector,
        layers=used or ((acting[0], acting[-1] + 1) if acting else (0, layers)),
        range=one.range or _range(one),
        low=low,
        high=high,
        unit=one.unit,
        note=one.note,
        bend=bend,
    ), note


def _within(rows: Tensor, used: tuple[int, int]) -> Tensor:
    """Rows, those of layers that are not used 0."""
    kept = torch.zeros_like(rows)
    kept[used[0] : used[1]] = rows[used[0] : used[1]]
    return kept


def _in_styles(one: _Published, generator: Generator | None, low: str, high: str) -> Direction:
    """A direction in S, after a check that its channels are those of the generator."""
    count = len(one.rows)
    layout = next((sizes for sizes in layouts_of(generator) if sum(sizes) == count), None)
    if layout is None:
        raise DirectionError(
            f"{one.name!r} has {count} channels of S, and this generator has others: it was made for another generator"
        )
    acting = [index for index, part in enumerate(torch.split(one.rows, list(layout))) if bool(part.any())]
    used = (acting[0], acting[-1] + 1) if acting else (0, len(layout))
    return Direction(one.name, one.rows, used, one.range or _RANGE, low, high, "s", one.unit, one.note, one.bend)


def _to_layers(name: str, rows: Tensor, layers: int) -> tuple[Tensor, str]:
    if len(rows) == layers:
        return rows, ""
    if bool((rows == rows[:1]).all()):
        return rows[:1].repeat(layers, 1), ""
    kept = rows[:layers]
    vector = torch.cat([kept, kept.new_zeros(layers - len(kept), kept.shape[1])])
    return vector, (
        f"{name!r} has vectors for {len(rows)} layers, the generator {layers}: the {len(kept)} coarsest are used"
    )


def _words(name: str) -> tuple[str, str]:
    attribute = attribute_of(name)
    return (attribute.low, attribute.high) if attribute else ("less", "more")


def _range(one: _Published) -> tuple[float, float]:
    """The reach of the attribute, which is that of unit vectors, in units of this vector."""
    attribute, length = attribute_of(one.name), float(one.rows.norm(dim=1).max())
    if attribute is None or attribute.reach is None or length == 0.0:
        return _RANGE
    reach = min(round(attribute.reach / length, 1), MAX_AMOUNT)
    return (-reach, reach)
