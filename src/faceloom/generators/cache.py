"""Drawing again what changed only from some block on.

A move of a late row of W+ leaves the feature maps of all earlier blocks as they were. `PrefixCache` keeps them, and
starts where the styles first differ. It can stop early at a smaller size, be cancelled between two layers, and forgets
the least useful maps where they grow beyond a bound. In the first block that is drawn again, styles that move along a
line do without a convolution (`faceloom.generators.style_lines`); a GPU launches recorded blocks instead, and can be
cancelled between those (`faceloom.generators.graphs`). What it draws is what the generator draws: bit for bit, or to
1e-4 where that was of use.
"""

from __future__ import annotations

import operator
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import cast

import torch
from torch import Tensor, nn

from faceloom.errors import UsageError
from faceloom.generators.backends import backend
from faceloom.generators.derived import times_forgotten
from faceloom.generators.graphs import Recordings, recordings
from faceloom.generators.protocol import Noise
from faceloom.generators.style_lines import LEAST_SIDE, StyleLine
from faceloom.generators.stylegan2 import Doubling, StyleGAN2

DEFAULT_BYTES = 512 << 20


class Cancelled(Exception):
    """The one who asked for it no longer wants it."""


@dataclass(eq=False)
class _Kept:
    """What is known of a block.

    Attributes:
        styles: of its convolutions.
        rgb: style of its toRGB layer; None where it has none.
        seen: all of these, where comparing them makes nobody wait.
        x, image: feature maps and image after it; None where they were dropped, or there is no image.
        used: when they were last of use.
    """

    styles: list[Tensor]
    rgb: Tensor | None
    seen: list[Tensor]
    x: Tensor | None = None
    image: Tensor | None = None
    used: int = 0

    @property
    def nbytes(self) -> int:
        return sum(tensor.nbytes for tensor in (self.x, self.image) if tensor is not None)


@dataclass(eq=False)
class _Memory:
    blocks: list[_Kept] = field(default_factory=list)
    line: StyleLine | None = None
    recordings: Recordings | None = None
    records: bool = True
    state: tuple[object, ...] = ()
    weights: tuple[Tensor, ...] = ()
    clock: int = 0


class PrefixCache:
    """Draws codes with a generator, from the first block that has changed since the last time.

    Threads may share one; they take turns.

    Args:
        generator: a StyleGAN2; its weights may change, which empties the cache.
        max_bytes: bound on the feature maps that are kept. On a GPU, single pictures are drawn by recordings where all
            maps fit; those hold besides what drawing needs for a moment.
    """

    def __init__(self, generator: StyleGAN2, max_bytes: int = DEFAULT_BYTES) -> None:
        if max_bytes < 0:
            raise UsageError(f"the bound of a cache cannot be negative, as {max_bytes}")
        self.generator, self.max_bytes = generator, max_bytes
        self._memory, self._lock = _Memory(), threading.Lock()
        self._last = generator.last_block(None)

    @property
    def nbytes(self) -> int:
        """Bytes of the feature maps and images that are kept."""
        line = self._memory.line
        return sum(kept.nbytes for kept in self._memory.blocks) + (0 if line is None else line.nbytes)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._memory = _Memory()

    def synthesize(
        self,
        ws: Tensor,
        noise: Noise = "constant",
        *,
        resolution: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Draw ws (N, num_ws, w_dim), without gradients; see `StyleGAN2.synthesize`.

        Args:
            ws: (N, num_ws, w_dim).
            noise: as there; random noise is drawn afresh, from the first block.
            resolution: as there.
            cancelled: asked before every layer, or recorded block; where it says True, drawing stops.

        Raises:
            Cancelled: if `cancelled` said so; what was drawn so far is kept.
            UsageError: if the shape of ws, the noise or the resolution is wrong.
        """
        with torch.no_grad():
            styles = self.generator.styles(ws, resolution)
            return self.synthesize_styles(styles, noise, resolution=resolution, cancelled=cancelled)

    @torch.no_grad()
    def synthesize_styles(
        self,
        styles: list[Tensor],
        noise: Noise = "constant",
        *,
        resolution: int | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Tensor:
        """Draw style vectors of S, as `StyleGAN2.styles` gives them; see `synthesize`."""
        if noise not in ("constant", "none"):
            return self.generator.synthesize_styles(styles, noise, resolution=resolution)

        def check() -> None:
            if cancelled is not None and cancelled():
                raise Cancelled("the picture is no longer wanted")

        with self._lock:
            wanted = self.generator.by_block(styles, resolution)
            self._match(wanted, noise)
            return self._draw(len(wanted) - 1, noise, check)

    def _match(self, wanted: Sequence[tuple[list[Tensor], Tensor | None]], noise: Noise) -> None:
        """Keep what is still right for these styles, and note them."""
        memory = self._memory
        # Held, so that no other tensor can come to lie where one of them was.
        weights = tuple(_weights(self.generator))
        written = tuple((tensor.data_ptr(), 0 if tensor.is_inference() else tensor._version) for tensor in weights)
        state = (noise, backend().name, times_forgotten(), written)
        same = len(weights) == len(memory.weights) and all(map(operator.is_, weights, memory.weights))
        if memory.state != state or not same:
            self._memory = memory = _Memory(state=state, weights=weights, clock=memory.clock)
        same_x = same_image = True
        for index, ((styles, rgb), seen) in enumerate(zip(wanted, _on_host(wanted), strict=True)):
            if index == len(memory.blocks):
                memory.blocks.append(_Kept(styles, rgb, seen))
                continue
            kept = memory.blocks[index]
            same_x = same_x and all(map(_equal, kept.seen[: len(styles)], seen))
            if not same_x and memory.line is not None and memory.line.index > index:
                memory.line = None
            same_image = same_image and same_x and (rgb is None or _equal(kept.seen[-1], seen[-1]))
            kept.styles, kept.rgb, kept.seen = styles, rgb, seen
            kept.x = kept.x if same_x else None
            kept.image = kept.image if same_image else None
        for kept in memory.blocks[len(wanted) :]:  # not asked for this time
            kept.x = kept.x if same_x else None
            kept.image = kept.image if same_image else None

    def _draw(self, last: int, noise: Noise, check: Callable[[], None]) -> Tensor:
        memory = self._memory
        memory.clock += 1
        start = self._start(last)
        x, image = (memory.blocks[start - 1].x, memory.blocks[start - 1].image) if start else (None, None)
        if start:
            memory.blocks[start - 1].used = memory.clock
        known = start > 0  # whether x was there before
        for index in range(start, last + 1):
            kept = memory.blocks[index]
            doubled = self._doubled(index) if known else None
            # Where nothing follows the maps, or nobody could keep them for what does, they are not even made.
            if index == self._last or (index == last and kept.x is None and not self._has_room(index)):
                painted = cast(Tensor, kept.rgb), image
                image = kept.image = self._features(index, x, noise, check, doubled, painted)
                kept.used = memory.clock
                break
            if kept.x is None:
                kept.x = self._features(index, x, noise, check, doubled)
                known = False
            x = kept.x
            if kept.rgb is not None:
                check()
                image = kept.image = self._paint(index, x, kept.rgb, image)
            kept.used = memory.clock
            self._evict()
        self._evict()
        assert image is not None
        return image.clone()

    def _has_room(self, index: int) -> bool:
        """Whether the feature maps after this block could be kept at all."""
        config, const = self.generator.config, self.generator.const
        count = self._memory.blocks[index].styles[0].shape[0]
        return count * config.channels[index] * (4 << index) ** 2 * const.element_size() <= self.max_bytes

    def _features(
        self,
        index: int,
        x: Tensor | None,
        noise: Noise,
        check: Callable[[], None],
        doubled: Doubling | None,
        painted: tuple[Tensor, Tensor | None] | None = None,
    ) -> Tensor:
        generator, styles = self.generator, self._memory.blocks[index].styles
        recorded = self._recordings(index)
        if recorded is None:
            return generator.features(index, x, styles, noise, check=check, painted=painted, doubled=doubled)
        check()
        if painted is None:

            def maps(x: Tensor | None, *styles: Tensor) -> Tensor:
                return generator.features(index, x, list(styles), noise)

            return recorded.run(("maps", index), maps, x, *styles)

        def picture(x: Tensor | None, rgb: Tensor, image: Tensor | None, *styles: Tensor) -> Tensor:
            return generator.features(index, x, list(styles), noise, painted=(rgb, image))

        return recorded.run(("picture", index), picture, x, *painted, *styles)

    def _paint(self, index: int, x: Tensor, rgb: Tensor, image: Tensor | None) -> Tensor:
        generator, recorded = self.generator, self._recordings(index)
        if recorded is None:
            return generator.paint(index, x, rgb, image)

        def paint(x: Tensor, rgb: Tensor, image: Tensor | None) -> Tensor:
            return generator.paint(index, x, rgb, image)

        return recorded.run(("paint", index), paint, x, rgb, image)

    def _recordings(self, index: int) -> Recordings | None:
        """Where recorded steps are kept; None where steps are not recorded. More than one picture keep a GPU busy."""
        memory, styles = self._memory, self._memory.blocks[index].styles
        if not self.max_bytes or not memory.records or styles[0].shape[0] > 1:
            return None
        if memory.recordings is None:
            memory.recordings = recordings(styles[0].device)
        return memory.recordings

    def _doubled(self, index: int) -> Doubling | None:
        """What draws the layer that doubles the size in a block before which all is as it was: a line of styles."""
        memory = self._memory
        drawn = index < self._last and memory.blocks[index].x is not None
        if drawn or 4 << index < LEAST_SIDE or not self.max_bytes or self._recordings(index) is not None:
            return None
        if memory.line is None or memory.line.index != index:
            memory.line = StyleLine(index)
        return memory.line.draw

    def _start(self, last: int) -> int:
        """The first block to draw: what comes before it is known."""
        blocks = self._memory.blocks
        for index in range(last + 1, 0, -1):
            before = blocks[index - 1]
            painted = before.image is not None or before.rgb is None
            followed = before.x is not None or (index <= last and blocks[index].x is not None)
            if painted and (followed or index == last + 1):
                return index
        return 0

    def _evict(self) -> None:
        """Drop the maps that have been of no use for longest, and of those the largest first."""
        blocks = self._memory.blocks
        if self.nbytes > self.max_bytes:
            self._memory.line = self._memory.recordings = None  # whose maps could not be dropped
            self._memory.records = False
        while self.nbytes > self.max_bytes:
            dropped = min((kept for kept in blocks if kept.nbytes), key=lambda kept: (kept.used, -kept.nbytes))
            dropped.x = dropped.image = None


class PrefixCaches:
    """A `PrefixCache` for each of the last few generators that were drawn with.

    Args:
        max_bytes: bound for each.
        most: how many generators.
    """

    def __init__(self, max_bytes: int = DEFAULT_BYTES, most: int = 3) -> None:
        self.max_bytes, self.most = max_bytes, most
        self._caches: OrderedDict[StyleGAN2, PrefixCache] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def nbytes(self) -> int:
        """Bytes of the feature maps and images that all of them keep."""
        with self._lock:
            return sum(cache.nbytes for cache in self._caches.values())

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._caches.clear()

    def of(self, generator: StyleGAN2) -> PrefixCache:
        """The cache of this generator."""
        with self._lock:
            if generator not in self._caches:
                self._caches[generator] = PrefixCache(generator, self.max_bytes)
            self._caches.move_to_end(generator)
            while len(self._caches) > self.most:
                self._caches.popitem(last=False)
            return self._caches[generator]


def _on_host(wanted: Sequence[tuple[list[Tensor], Tensor | None]]) -> list[list[Tensor]]:
    """The style vectors of each block, in the host's memory, with one transfer for all."""
    blocks = [styles if rgb is None else [*styles, rgb] for styles, rgb in wanted]
    if all(style.device.type == "cpu" for block in blocks for style in block):
        return blocks
    flat = torch.cat([style.flatten() for block in blocks for style in block]).cpu()
    parts = iter(torch.split(flat, [style.numel() for block in blocks for style in block]))
    return [[next(parts).reshape(style.shape) for style in block] for block in blocks]


def _weights(module: nn.Module) -> list[Tensor]:
    """Its parameters and buffers; asking it for them itself takes longer than looking at them."""
    found = [tensor for held in (module._parameters, module._buffers) for tensor in held.values() if tensor is not None]
    for part in module._modules.values():
        if part is not None:
            found += _weights(part)
    return found


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b)
