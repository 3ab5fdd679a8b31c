"""The two ways in which a job ends early that are no fault of its code; whatever else is raised keeps its traceback."""

from typing import ClassVar


class Refused(ValueError):
    """The recipe, the data or the environment is wrong: told in one line that says what to do.

    A ``ValueError`` of any other class is a fault of the code, torch's and the techniques' included.
    """

    exit_status: ClassVar[int] = 2


class Diverged(Exception):
    """The training came to nothing, by the recipe's own numbers: told in one line, and nothing is packed."""

    exit_status: ClassVar[int] = 1
