"""Words for people."""


def counted(number: float, noun: str, plural: str = "") -> str:
    """``1 seed``, ``3 seeds``, ``0.5 GPUs``; ``plural``: where it is not the noun and an s."""
    shown = f"{number:g}" if isinstance(number, float) else str(number)
    return f"{shown} {noun if number == 1 else plural or noun + 's'}"
