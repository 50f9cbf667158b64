"""The transforms of the fast algorithms, in one dimension, on vectors of eight channels.

F(4, 3) is Winograd's for four outputs of a filter of three taps: points 0, 1, -1, 2, -2 and infinity. F(4, 2), for the
even samples of a transposed convolution, which only the outer two taps reach, is Toom's: points 0, 1, -1, 2, infinity.

Sources: Lavin and Gray 2016, section 4; Winograd 1980, chapter 5.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from faceloom.generators.fused.lanes import add, fma, inlined, load, spread, store, subtract

# Filter transform: rows are points, columns taps.
_TOOM = np.array([[1 / 2, 0], [-1 / 2, -1 / 2], [-1 / 6, 1 / 6], [1 / 6, 1 / 3], [0, 1]])
# The outer two taps at five points, and the middle tap as it is. Going up, taps meet the samples in mirrored order.
TOOM_UP = np.vstack([np.stack([_TOOM[:, 1], np.zeros(5), _TOOM[:, 0]], axis=1), [[0, 1, 0]]])
TOOM_DOWN = np.vstack([np.stack([_TOOM[:, 0], np.zeros(5), _TOOM[:, 1]], axis=1), [[0, 1, 0]]])


@inlined
def six_points(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any, d5: Any) -> Any:
    """Six samples at the points of F(4, 3)."""
    minus4, minus5, four = spread(np.float32(-4)), spread(np.float32(-5)), spread(np.float32(4))
    a, b = fma(minus4, d2, d4), fma(minus4, d1, d3)
    c, e = subtract(d4, d2), subtract(d3, d1)
    e = add(e, e)
    return (
        fma(four, d0, fma(minus5, d2, d4)),
        add(a, b),
        subtract(a, b),
        add(c, e),
        subtract(c, e),
        fma(four, d1, fma(minus5, d3, d5)),
    )


@inlined
def four_of_six(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any, m5: Any) -> Any:
    """Four outputs of F(4, 3) from the products at its points."""
    p, q, r, s = add(m1, m2), subtract(m1, m2), add(m3, m4), subtract(m3, m4)
    return (
        add(add(m0, p), r),
        fma(spread(np.float32(2)), s, q),
        fma(spread(np.float32(4)), r, p),
        add(fma(spread(np.float32(8)), s, q), m5),
    )


@inlined
def six_of_four(g0: Any, g1: Any, g2: Any, g3: Any) -> Any:
    """The transpose of `four_of_six`: gradients of four outputs to those of the products at the points of F(4, 3)."""
    p, q = add(g0, g2), add(g1, g3)
    four, eight = spread(np.float32(4)), spread(np.float32(8))
    r, s = fma(four, g2, g0), fma(eight, g3, add(g1, g1))
    return g0, add(p, q), subtract(p, q), add(r, s), subtract(r, s), g3


@inlined
def five_points(d0: Any, d1: Any, d2: Any, d3: Any, d4: Any) -> Any:
    """Five samples at the points of F(4, 2)."""
    two = spread(np.float32(2))
    a = subtract(d3, d1)
    b = subtract(d3, d2)
    return (
        fma(two, subtract(d0, d2), a),
        fma(spread(np.float32(-2)), d1, b),
        fma(two, subtract(d1, d2), b),
        a,
        fma(spread(np.float32(-2)), a, subtract(d4, d2)),
    )


@inlined
def four_of_five(m0: Any, m1: Any, m2: Any, m3: Any, m4: Any) -> Any:
    """Four outputs of F(4, 2) from the products at its points."""
    p, q = add(m1, m2), subtract(m1, m2)
    return (
        add(add(m0, p), m3),
        fma(spread(np.float32(2)), m3, q),
        fma(spread(np.float32(4)), m3, p),
        add(fma(spread(np.float32(8)), m3, q), m4),
    )


@inlined
def copy_window(
    x: int, height: int, width: int, channels: int, top: int, left: int, rows: int, columns: int, out: int
) -> None:
    """Copy a window of (height, width, channels) at `x` to `out`, with zeros where it hangs over the edge."""
    zero = spread(np.float32(0))
    place = out
    for i in range(top, top + rows):
        for j in range(left, left + columns):
            if 0 <= i < height and 0 <= j < width:
                pixel = x + 4 * (i * width + j) * channels
                for c in range(0, channels, 8):
                    store(place, c, load(pixel, c))
            else:
                for c in range(0, channels, 8):
                    store(place, c, zero)
            place += 4 * channels
