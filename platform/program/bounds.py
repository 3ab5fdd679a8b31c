"""What numbers a knob takes, from one end to another, in words that a declaration and an error share."""

import re
from dataclasses import dataclass
from math import inf

_NUMBER = r"-?[0-9][0-9_]*(?:\.[0-9]+)?(?:e-?[0-9]+)?"
_WORDS = {  # each part of a text, and the fields of Bounds that its numbers are
    re.compile(rf"({_NUMBER}) to ({_NUMBER})"): ("low", "high"),
    re.compile(rf"({_NUMBER}) or more"): ("low",),
    re.compile(rf"above ({_NUMBER})"): ("low", "above"),
    re.compile(rf"at most ({_NUMBER})"): ("high",),
    re.compile(rf"below ({_NUMBER})"): ("high", "below"),
}


@dataclass(frozen=True)
class Bounds:
    """``low`` to ``high``, both included unless said otherwise."""

    low: float = -inf
    high: float = inf
    above: bool = False  # ``low`` itself is not taken
    below: bool = False  # ``high`` itself is not taken

    @staticmethod
    def of(text: str) -> "Bounds":
        """The bounds that ``text`` says: ``2 to 8``, ``1 or more``, ``0 or more and below 1``.

        Raises:
            ValueError: other words, an end twice, or ends between which there is nothing.
        """
        said: dict[str, float | bool] = {}
        for part in text.split(" and "):
            found = next(((match, names) for words, names in _WORDS.items() if (match := words.fullmatch(part))), None)
            if not found or not said.keys().isdisjoint(found[1]):
                raise ValueError(
                    f"the bounds {text!r}; write 'A to B', or one or two of 'A or more', 'above A', 'at most B', "
                    f"'below B', joined by 'and'"
                )
            match, names = found
            said |= dict(zip(names, [*map(float, match.groups()), True], strict=False))  # True: for above and below
        bounds = Bounds(**said)  # type: ignore[arg-type]
        if not (bounds.low < bounds.high or bounds.take(bounds.low)):
            raise ValueError(f"the bounds {text!r}, between which there is no number")
        return bounds

    def take(self, value: float) -> bool:
        return (value > self.low if self.above else value >= self.low) and (
            value < self.high if self.below else value <= self.high
        )

    def __str__(self) -> str:
        low = "" if self.low == -inf else f"above {self.low:g}" if self.above else f"{self.low:g} or more"
        high = "" if self.high == inf else f"below {self.high:g}" if self.below else f"at most {self.high:g}"
        if low and high and not self.above and not self.below:
            return f"{self.low:g} to {self.high:g}"
        return " and ".join(part for part in (low, high) if part)


ANYTHING = Bounds()
