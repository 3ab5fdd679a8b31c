"""The events that a job has left in a metrics.jsonl."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any


def events(path: Path, *kinds: str) -> Iterator[dict[str, Any]]:
    """The events of these kinds, in order; none where there is no file. A line that a kill cut off is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict) and event.get("event") in kinds:
                yield event


def own_seconds(phases: Mapping[str, float], path: Path) -> dict[str, float]:
    """Wall seconds of each phase without those of the phases inside it, in the order in which they began.

    Args:
        phases: whole seconds of each, as a record has them.
        path: the metrics.jsonl of that record; says which phase lies in which. Without it none does.
    """
    own: dict[str, float] = {}
    around: list[str] = []
    counted: set[tuple[str, str]] = set()  # a phase that begins again inside another is in ``phases`` once
    for event in events(path, "phase"):
        name = str(event.get("phase"))
        if name in phases and event.get("state") == "start":
            own.setdefault(name, phases[name])
            if around and (name, around[-1]) not in counted:
                counted.add((name, around[-1]))
                own[around[-1]] = max(0.0, own[around[-1]] - phases[name])
            around.append(name)
        elif name in around:
            del around[around.index(name) :]
    return {**own, **{name: seconds for name, seconds in phases.items() if name not in own}}
