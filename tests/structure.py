"""Who imports whom in platform/: levels, rooms and cycles, those hidden inside functions included.

python -m tests.structure
"""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLATFORM = ROOT / "platform"
COMMANDS = "commands"  # the room of the thin modules on top
BASE = ("errors", "paths", "locks", "words", "options")  # modules that belong to no room

Graph = Mapping[str, set[str]]


def modules() -> dict[str, Path]:
    """Every module below ``platform``, by its dotted name without that; a package by its own name."""
    found = {}
    for path in sorted(PLATFORM.rglob("*.py")):
        parts = path.relative_to(PLATFORM).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name:
            found[name] = path
    return found


def imports() -> dict[str, set[str]]:
    """What each module imports of the others, wherever in it the import stands."""
    known = modules()
    return {name: set(_imported(name, path, known)) - {name} for name, path in known.items()}


def room_of(module: str) -> str:
    """A package; ``commands``; or a module of the base, by its own name."""
    first = module.partition(".")[0]
    if (PLATFORM / first).is_dir():
        return COMMANDS if module.endswith(".__main__") else first
    return first if first in BASE else COMMANDS


def rooms(graph: Graph) -> dict[str, set[str]]:
    """The same between rooms."""
    found: dict[str, set[str]] = {}
    for module, others in graph.items():
        room = room_of(module)
        found.setdefault(room, set()).update({room_of(one) for one in others} - {room})
    return found


def levels(graph: Graph) -> dict[str, int]:
    """How far above the lowest each one stands. Raises CycleError where some import each other."""
    found: dict[str, int] = {}
    for one in TopologicalSorter(graph).static_order():
        found[one] = 1 + max((found[other] for other in graph[one]), default=-1)
    return found


def cycle(graph: Graph) -> list[str]:
    """Some that import each other in a circle; nothing where there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def _imported(name: str, path: Path, known: Mapping[str, Path]) -> Iterator[str]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = package[: len(package) - node.level + 1]
        target = [*base, *(node.module or "").split(".")] if node.module else base
        for alias in node.names:
            inside = ".".join([*target, alias.name])
            yield inside if inside in known else ".".join(target)


def main() -> None:
    """Print rooms by level, what each imports, and the circles."""
    graph = imports()
    between = rooms(graph)
    if circle := cycle(between):
        print("rooms in a circle:", " -> ".join(circle))
        return
    by_level: dict[int, list[str]] = {}
    for room, level in levels(between).items():
        by_level.setdefault(level, []).append(room)
    counts: dict[str, int] = {}
    for module in graph:
        counts[room_of(module)] = counts.get(room_of(module), 0) + 1
    for level in sorted(by_level, reverse=True):
        for room in sorted(by_level[level]):
            print(f"{level}  {room:12} {counts[room]:3} modules  <- {', '.join(sorted(between[room]))}")
    circle = cycle(graph)
    of_modules = 1 + max(levels(graph).values())
    print(f"{len(by_level)} levels, {len(between)} rooms, {len(graph)} modules on {of_modules} levels")
    print("modules in a circle:", " -> ".join(circle) if circle else "none")


if __name__ == "__main__":
    main()
