from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceloom.imaging.sheets import before_after, grid, strip
from faceloom.types import Pixels


def plain(width: int, height: int, colour: tuple[int, int, int]) -> Pixels:
    return np.full((height, width, 3), colour, np.uint8)


def count(sheet: Pixels, colour: tuple[int, int, int]) -> int:
    return int((sheet == np.array(colour, np.uint8)).all(axis=2).sum())


RED, BLUE = (255, 0, 0), (0, 0, 255)


def test_strip_shows_every_picture_whole_and_its_caption() -> None:
    sheet = strip([plain(64, 64, RED), plain(10, 20, BLUE)], ["left", "right"], cell=64)
    assert count(sheet, RED) == 64 * 64
    assert count(sheet, BLUE) == 32 * 64
    bottom = sheet[np.nonzero((sheet == RED).all(axis=2))[0].max() + 1 :]
    middle = sheet.shape[1] // 2
    assert bottom[:, :middle].min() < 160
    assert bottom[:, middle:].min() < 160


def test_title_is_above() -> None:
    without, titled = (strip([plain(64, 64, RED)], [""], title, cell=64) for title in (None, "Title"))
    added = titled.shape[0] - without.shape[0]
    assert added > 10
    assert titled[:added].min() < 100
    np.testing.assert_array_equal(titled[added + 4 :], without[4:])


def test_before_is_left_of_after() -> None:
    sheet = before_after(plain(8, 8, RED), plain(8, 8, BLUE))
    across = [np.nonzero((sheet == colour).all(axis=2))[1] for colour in (RED, BLUE)]
    assert across[0].max() < across[1].min()


def test_labels_of_rows_are_left_and_of_columns_above() -> None:
    rows = [[plain(8, 8, RED), plain(8, 8, RED)], [plain(8, 8, RED)]]
    bare = grid(rows, None, None, cell=64)
    labelled = grid(rows, ["one", "two"], ["a", "b"], cell=64)
    assert count(bare, RED) == count(labelled, RED) == 3 * 64 * 64
    down, across = np.nonzero((labelled == RED).all(axis=2))
    assert labelled[:, : across.min()].min() < 160
    assert labelled[: down.min()].min() < 160
    assert labelled.shape[0] > bare.shape[0]
    assert labelled.shape[1] > bare.shape[1]


@given(st.text(max_size=60), st.integers(1, 80))
def test_any_caption_stays_in_its_cell(caption: str, cell: int) -> None:
    empty, captioned = (strip([plain(4, 4, RED)], [words], cell=cell) for words in ("", caption))
    assert empty.shape == captioned.shape
    margin = max(4, cell // 32)
    assert (captioned[:, :margin] == 255).all()
    assert (captioned[:, -margin:] == 255).all()


def test_signs_outside_the_font_are_written_out() -> None:
    typographic, ascii_only = (strip([plain(4, 4, RED)], [words]) for words in ("−1 → é", "-1 -> e"))
    np.testing.assert_array_equal(typographic, ascii_only)


@pytest.mark.parametrize(
    ("rows", "row_labels", "column_labels", "words"),
    [
        ([], None, None, "at least one"),
        ([[]], None, None, "at least one"),
        ([[plain(4, 4, RED)]], ["a", "b"], None, "1 rows"),
        ([[plain(4, 4, RED)]], None, [], "1 columns"),
    ],
)
def test_wrong_numbers_are_refused(
    rows: list[list[Pixels]], row_labels: list[str] | None, column_labels: list[str] | None, words: str
) -> None:
    with pytest.raises(ValueError, match=words):
        grid(rows, row_labels, column_labels)
