"""A progress bar on standard error, where a person watches it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

_T = TypeVar("_T")


class Update(Protocol):
    """Moves a bar to `done` of `of`; `of` may be left out where the bar's length is known."""

    def __call__(self, done: int, of: int | None = None) -> None:
        """Show how far the work is."""
        ...


@contextmanager
def bar(what: str, total: int | None = None) -> Iterator[Update]:
    """Show a bar while the block runs.

    Yields:
        A function that takes how much is done, and how much there is in all where that is known by now.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
    console = Console(stderr=True)
    with Progress(
        *columns, TimeRemainingColumn(), console=console, transient=True, disable=not console.is_terminal
    ) as it:
        task = it.add_task(what, total=total)

        def update(done: int, of: int | None = None) -> None:
            it.update(task, completed=done, total=of if of is not None else total)

        yield update


def counted(items: Iterable[_T], update: Update) -> Iterator[_T]:
    """The items, moving a bar as each one comes."""
    for number, item in enumerate(items, start=1):
        yield item
        update(number)
