"""Numbers as options take them."""

from __future__ import annotations

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A range without "nan", which is beyond no bound, and "inf"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or an error that click shows."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is no number that means anything here.", param, ctx)
        return number


SEED = click.IntRange(0, 2**32 - 1)
"""Every generator of random numbers takes these."""
