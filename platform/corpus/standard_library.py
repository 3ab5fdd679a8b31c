"""English that every CPython carries: the language reference in ``pydoc_data.topics`` and the library's docstrings.

Sources are parsed, never imported: importing 500 modules would run them, and some want a display or Windows.
"""

import ast
import hashlib
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from ..errors import UserError

# What distributions package apart from Python or leave out, tests, and what pip installed: without them the text is
# the same on every build of one Python version.
PACKAGED_APART = {"idlelib", "idle_test", "lib2to3", "turtledemo", "tkinter", "ensurepip", "distutils", "test", "tests"}
NOT_THE_LIBRARY = {"lib-dynload", "site-packages", "dist-packages", "__pycache__"}
GENERATED = "_sysconfigdata"  # modules of this prefix hold the flags this build was compiled with, no English
TOPICS = Path("pydoc_data/topics.py")


@cache
def sources() -> dict[str, str]:
    """sha256 of every source file that is read, by its path inside the standard library, in order; takes 0.1 s.

    Raises:
        UserError: this Python came without the sources of its library.
    """
    library = _library()
    hashes: dict[str, str] = {}
    for folder, folders, files in os.walk(library):
        folders[:] = sorted(
            child
            for child in folders
            if child not in PACKAGED_APART | NOT_THE_LIBRARY and not child.startswith("config-")
        )
        for name in sorted(files):
            path = Path(folder, name)
            if name.endswith(".py") and not name.startswith(GENERATED):
                hashes[path.relative_to(library).as_posix()] = hashlib.sha256(path.read_bytes()).hexdigest()
    if TOPICS.as_posix() not in hashes:
        raise UserError(
            f"{library / TOPICS} is not there: this Python came without the text that the embedded corpus is made of.\n"
            "Use a full CPython (python.org, pyenv, uv, or your distribution's python3 with its libpython3-stdlib), "
            "or make a corpus of your own text: python -m platform.corpus text FILE..."
        )
    return hashes


def blocks() -> Iterator[list[str]]:
    """For each topic and each module its paragraphs, in reading order; a paragraph that was there before is left out.

    The topics repeat whole pages of each other (``if`` and ``while`` are pages of ``compound``), and subclasses repeat
    their parents' docstrings, indented or wrapped in another way: words decide what is a repeat. So a validation
    document shares no paragraph with a training document.
    """
    library = _library()
    seen: set[str] = set()
    for name in sources():
        tree = ast.parse((library / name).read_bytes())
        for texts in _topics(tree) if name == TOPICS.as_posix() else [_docstrings(tree)]:
            fresh = []
            for paragraph in (paragraph for text in texts for paragraph in text.split("\n\n")):
                words = " ".join(paragraph.split())
                if words and words not in seen:
                    seen.add(words)
                    fresh.append(paragraph.rstrip())
            if fresh:
                yield fresh


def _library() -> Path:
    return Path(os.__file__).parent


def _docstrings(tree: ast.Module) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings = [(node, ast.get_docstring(node)) for node in ast.walk(tree) if isinstance(node, kinds)]
    # ast.walk goes level by level; a reader goes line by line.
    docstrings.sort(key=lambda pair: getattr(pair[0], "lineno", 0))
    return [text for _, text in docstrings if text]


def _topics(tree: ast.Module) -> Iterator[list[str]]:
    for node in tree.body:
        if isinstance(node, ast.Assign):
            topics: dict[str, str] = ast.literal_eval(node.value)
            for _, text in sorted(topics.items()):
                yield [text]
