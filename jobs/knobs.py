"""Numbers that a knob may be: ``momentum: Memory = 0.95``. The text says which, in the words of the error message.

Whoever checks a recipe reads the text; a program carries it, and to Python the knob is a plain int or float. What is
not here a technique writes itself: ``level: Annotated[int, "1 to 22"]``. Bounds are ``A or more``, ``above A``,
``at most B``, ``below B``, one of each kind joined by ``and``, or ``A to B``, ends included.

How small a technique is made, its class says in two literals that are read in the same way: ``small`` by scale, and
``audit`` for the two trunks of an audit; ``score_first`` has both.
"""

from typing import Annotated

Count = Annotated[int, "1 or more"]
CountOrZero = Annotated[int, "0 or more"]
Positive = Annotated[float, "above 0"]
PositiveOrZero = Annotated[float, "0 or more"]
Share = Annotated[float, "0 to 1"]
Memory = Annotated[float, "0 or more and below 1"]  # of a running mean: how much of it stays at each step
Quantile = Annotated[float, "above 0 and at most 1"]
Bits = Annotated[int, "2 to 8"]
TableBits = Annotated[int, "2 to 16"]  # 16: float16
