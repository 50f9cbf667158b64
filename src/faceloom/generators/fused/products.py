"""Matrix products of the size that tiles ask for.

A is a stack of planes of rows, B is packed as (columns / 16, K, 16). Six rows by sixteen columns of C fill twelve of
the sixteen vector registers of AVX2, with two for B and one for A. Four rows are as fast a row while the cache gives
them, so that sixes and fours make every even number of rows without waste.

Filters come from memory, each panel of sixteen columns once for a block of rows: the first rows would wait for it, and
while the others find it in the cache, memory would have nothing to do. So the next panel is asked for during this one,
evenly, which makes products of few rows half as fast again.
"""

# ruff: noqa: D417 - related arguments share a line of the docstring.

from __future__ import annotations

from typing import Any

import numpy as np

from faceloom.generators.fused.lanes import compiled, fma, load, load_float, prefetch, spread, store

ROWS, COLUMNS = 6, 16


@compiled
def _six_rows(a: int, a_row: int, b: int, depth: int, c: int, c_row: int, ahead: int, stride: int) -> None:
    zero = spread(np.float32(0))
    u0 = u1 = u2 = u3 = u4 = u5 = v0 = v1 = v2 = v3 = v4 = v5 = zero
    a1, a2, a3, a4, a5 = a + a_row, a + 2 * a_row, a + 3 * a_row, a + 4 * a_row, a + 5 * a_row
    for k in range(depth):
        prefetch(ahead + stride * k)
        left, right = load(b, 16 * k), load(b, 16 * k + 8)
        x = spread(load_float(a, k))
        u0, v0 = fma(x, left, u0), fma(x, right, v0)
        x = spread(load_float(a1, k))
        u1, v1 = fma(x, left, u1), fma(x, right, v1)
        x = spread(load_float(a2, k))
        u2, v2 = fma(x, left, u2), fma(x, right, v2)
        x = spread(load_float(a3, k))
        u3, v3 = fma(x, left, u3), fma(x, right, v3)
        x = spread(load_float(a4, k))
        u4, v4 = fma(x, left, u4), fma(x, right, v4)
        x = spread(load_float(a5, k))
        u5, v5 = fma(x, left, u5), fma(x, right, v5)
    _store_row(c, u0, v0)
    _store_row(c + c_row, u1, v1)
    _store_row(c + 2 * c_row, u2, v2)
    _store_row(c + 3 * c_row, u3, v3)
    _store_row(c + 4 * c_row, u4, v4)
    _store_row(c + 5 * c_row, u5, v5)


@compiled
def _four_rows(a: int, a_row: int, b: int, depth: int, c: int, c_row: int, ahead: int, stride: int) -> None:
    zero = spread(np.float32(0))
    u0 = u1 = u2 = u3 = v0 = v1 = v2 = v3 = zero
    a1, a2, a3 = a + a_row, a + 2 * a_row, a + 3 * a_row
    for k in range(depth):
        prefetch(ahead + stride * k)
        left, right = load(b, 16 * k), load(b, 16 * k + 8)
        x = spread(load_float(a, k))
        u0, v0 = fma(x, left, u0), fma(x, right, v0)
        x = spread(load_float(a1, k))
        u1, v1 = fma(x, left, u1), fma(x, right, v1)
        x = spread(load_float(a2, k))
        u2, v2 = fma(x, left, u2), fma(x, right, v2)
        x = spread(load_float(a3, k))
        u3, v3 = fma(x, left, u3), fma(x, right, v3)
    _store_row(c, u0, v0)
    _store_row(c + c_row, u1, v1)
    _store_row(c + 2 * c_row, u2, v2)
    _store_row(c + 3 * c_row, u3, v3)


@compiled
def _store_row(c: int, left: Any, right: Any) -> None:
    store(c, 0, left)
    store(c, 8, right)


@compiled
def _one_row(a: int, b: int, depth: int, c: int) -> None:
    u = v = spread(np.float32(0))
    for k in range(depth):
        x = spread(load_float(a, k))
        u, v = fma(x, load(b, 16 * k), u), fma(x, load(b, 16 * k + 8), v)
    _store_row(c, u, v)


@compiled
def multiply_panel(a: int, a_row: int, b: int, rows: int, depth: int, c: int, c_row: int) -> None:
    """Sixteen columns of C = A · B; `a_row` and `c_row` are bytes from row to row. The next panel is behind this."""
    if rows < 4:
        for row in range(rows):
            _one_row(a + row * a_row, b, depth, c + row * c_row)
        return
    left = rows % 6
    by_six = rows - left
    if left == 5 and by_six:
        by_six = rows
    elif 0 < left < 3 and by_six:
        by_six -= 6  # seven or eight are two fours
    # The last six or four may overlap others: what an odd number has too few of is made twice.
    ahead, stride = b + 64 * depth, -(-64 // ((by_six + 5) // 6 + (rows - by_six + 3) // 4))
    for row in range(0, by_six, 6):
        row = min(row, rows - 6)
        _six_rows(a + row * a_row, a_row, b, depth, c + row * c_row, c_row, ahead, stride)
        ahead += stride * depth
    for row in range(by_six, rows, 4):
        row = min(row, rows - 4)
        _four_rows(a + row * a_row, a_row, b, depth, c + row * c_row, c_row, ahead, stride)
        ahead += stride * depth


@compiled
def multiply_planes(
    a: int, b: int, c: int, rows: int, depth: int, columns: int, outer: int, inner: int, a_plane: int, c_plane: int
) -> None:
    """C = A · B for the planes 9 · i + j of A and C, i below `outer` and j below `inner`, that share one B.

    Args:
        a, b, c: addresses of the first planes, and of the packed matrix.
        rows: of each plane.
        depth: columns of A, rows of B.
        columns: of B and C, a multiple of 16.
        outer, inner: which planes.
        a_plane, c_plane: bytes from plane to plane.
    """
    a_row, c_row = 4 * depth, 4 * columns
    for column in range(0, columns, 16):
        panel = b + 4 * column * depth
        for i in range(outer):
            for j in range(inner):
                place = (9 * i + j) * c_plane + 4 * column
                multiply_panel(a + (9 * i + j) * a_plane, a_row, panel, rows, depth, c + place, c_row)
