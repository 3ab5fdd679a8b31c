"""The house: rooms import downwards only, on few levels, without circles; the commands on top are thin."""

import subprocess
import sys
import tomllib

import pytest

from tests.structure import BASE, COMMANDS, PLATFORM, ROOT, cycle, imports, levels, main, room_of, rooms

MOST_LEVELS = 8
MOST_LINES = 60  # of a command: its options, one call, printing
GRAPH = imports()
ROOMS = sorted(room for room in rooms(GRAPH) if room not in (COMMANDS, *BASE))
COMMAND_FILES = sorted(path for path in PLATFORM.rglob("*.py") if "\ndef main(" in path.read_text())


def test_there_is_no_circle_not_even_inside_functions() -> None:
    assert not cycle(GRAPH)
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"a"}}), "it would be seen"


def test_rooms_stand_on_few_levels() -> None:
    found = levels(rooms(GRAPH))
    assert max(found.values()) < MOST_LEVELS
    assert found[COMMANDS] == max(found.values()), "nothing is above the commands"


@pytest.mark.parametrize("room", ROOMS)
def test_what_a_room_does_not_import_it_may_not(room: str) -> None:
    """The linter's bans are complete: every other room is either used or banned."""
    config = tomllib.loads((PLATFORM / room / "ruff.toml").read_text())
    banned = set(config["lint"]["flake8-tidy-imports"]["banned-api"])
    assert {"torch", "jobs.train"} <= banned
    used = {other for other in rooms(GRAPH)[room] if other in ROOMS}
    assert {f"platform.{other}" for other in ROOMS if other != room} - banned == {f"platform.{one}" for one in used}


def test_the_linter_passes_over_no_file() -> None:
    """A pattern that leaves out ``runs`` would leave out ``platform/runs`` as well."""
    listed = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--show-files", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=900,
    ).stdout.split("\n")
    there = {str(path) for top in ("platform", "jobs", "tests") for path in (ROOT / top).rglob("*.py")}
    assert not there - set(listed)


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: path.stem)
def test_commands_are_thin(path: object) -> None:
    assert room_of(".".join(path.relative_to(PLATFORM).with_suffix("").parts)) == COMMANDS  # type: ignore[attr-defined]
    assert path.read_text().count("\n") <= MOST_LINES  # type: ignore[attr-defined]


def test_it_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    main()
    shown = capsys.readouterr().out
    assert "levels" in shown and "modules in a circle: none" in shown and all(room in shown for room in ROOMS)
