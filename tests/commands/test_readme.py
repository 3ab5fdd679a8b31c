"""README and docs name what is there: commands, options, links, paths, packages; and README stays short."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.structure import PLATFORM, ROOT, imports, levels, rooms

MOST_LINES = 120
README, DESIGN = ROOT / "README.md", ROOT / "docs" / "design.md"
PAGES = [
    README,
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "dashboards" / "README.md",
]
FOLDERS = ("platform/", "jobs/", "recipes/", "docs/", "tests/", "dashboards/")
BETWEEN = rooms(imports())

of_each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def commands() -> dict[str, Path]:
    """What can be typed behind ``python -m platform.``, and its file."""
    files = {path.stem: path for path in PLATFORM.glob("*.py")}
    files |= {path.parent.name: path for path in PLATFORM.glob("*/__main__.py")}
    return {name: path for name, path in files.items() if "\ndef main(" in path.read_text() and name != "__main__"}


def command_lines(text: str) -> Iterator[tuple[str, str]]:
    """Each ``python -m MODULE ...`` of a page, up to the end of its code: the module, and what follows it."""
    for found in re.finditer(r"python -m ([\w.]+)([^`\n#]*)", text):
        yield found[1].rstrip("."), found[2]


def anchors(text: str) -> set[str]:
    """The places of a page that a link can name, as they are made of its headings."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def is_there(named: str) -> bool:
    """Whether a path of the checkout exists; ``<name>`` and ``*`` stand for anything."""
    return any(ROOT.glob(re.sub(r"<[^>]*>", "*", named.rstrip("/"))))


def test_the_readme_is_short() -> None:
    assert README.read_text().count("\n") <= MOST_LINES


@of_each_page
def test_commands_and_their_options_are_there(page: Path) -> None:
    for module, rest in command_lines(page.read_text()):
        first, _, name = module.partition(".")
        if first == "platform" and name:
            assert name in commands(), f"python -m {module}"
            text = commands()[name].read_text() + (commands()["launch"].read_text() if name == "deploy" else "")
            for option in re.findall(r"--[a-z][a-z-]*", rest):
                assert f'"{option}"' in text or option == "--help", f"python -m {module} has no {option}"
        else:
            path = ROOT / module.replace(".", "/")
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), f"python -m {module}"


def test_every_command_is_in_the_readme() -> None:
    assert {module.partition(".")[2] for module, _ in command_lines(README.read_text())} >= set(commands())


@of_each_page
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if target.startswith(("http:", "https:")):
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"no {target}"
        assert not anchor or anchor in anchors(file.read_text()), f"{target} has no heading {anchor}"


@of_each_page
def test_paths_are_there(page: Path) -> None:
    text = page.read_text()
    spans = [span.split()[0] for span in re.findall(r"`([^`\n]+)`", text) if span.startswith(FOLDERS)]
    blocks = [line for line in text.splitlines() if line.startswith("    python -m ")]
    typed = [word for line in blocks for word in line.split() if word.startswith(FOLDERS)]
    for named in (*spans, *typed):
        assert is_there(named), f"no {named}"


def test_what_is_not_there_would_be_seen() -> None:
    assert not is_there("jobs/nothing.py") and not is_there("jobs/techniques/<family>/nothing_of_this_name.py")
    assert is_there("jobs/techniques/<family>/<name>.py") and "nothing" not in commands()


def test_the_packages_are_drawn_as_they_are() -> None:
    """``tests.structure`` gives the same picture, in full in docs/design.md and by level in README."""
    found = levels(BETWEEN)
    lines = {f"    {found[room]}  {room:11} <- {', '.join(sorted(BETWEEN[room]))}".rstrip() for room in found}
    assert {line for line in DESIGN.read_text().splitlines() if re.match(r"    \d  \w+ +<-", line)} == lines
    drawn: dict[int, str] = {}
    level = 0
    for line in README.read_text().splitlines():
        if (start := re.match(r"    (\d| )  (?=\w)", line)) is None:
            continue
        level = int(start[1]) if start[1] != " " else level
        drawn[level] = f"{drawn.get(level, '')} {line}"
    for room in found:
        assert re.search(rf"\b{room}\b", drawn.get(found[room], "")), (
            f"README does not draw {room} on level {found[room]}"
        )
