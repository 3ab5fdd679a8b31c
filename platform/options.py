"""What several commands have in common."""

import math
from typing import Any

import click


def described(docstring: str | None) -> str:
    """The docstring of a command's module as its help; examples keep their lines."""
    said = (docstring or "").removeprefix("The command: ").replace("``", "")
    said = said.replace("\npython -m", "\n\b\npython -m", 1)  # click's mark of a paragraph that is not filled
    return said[:1].upper() + said[1:]


class Number(click.FloatRange):
    """A number in a range; "nan" and "inf", which are floats too, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is no number to reckon with", param, ctx)
        return number
