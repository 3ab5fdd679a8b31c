"""Kinds of options that several commands take."""

import math
from typing import Any

import click


class Number(click.FloatRange):
    """A number in a range; "nan" and "inf", which are floats too, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number to reckon with", param, ctx)
        return number
