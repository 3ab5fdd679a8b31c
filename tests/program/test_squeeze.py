"""What squeezing takes away and what it leaves; every recipe's program is in `end_to_end/test_squeezed.py`."""

import ast
import dataclasses
import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

from platform.errors import UserError
from platform.logs.unpack import script
from platform.program.recipe import load, program
from platform.program.squeeze import pack, squeeze
from platform.squeeze import main

ROOT = Path(__file__).parents[2]


def printed(text: str, folder: Path) -> str:
    """What a program prints that runs alone: an empty folder, safe path."""
    file = folder / "program.py"
    file.write_text(text)
    done = subprocess.run([sys.executable, "-P", str(file)], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def both(text: str, folder: Path) -> str:
    """``text`` squeezed, after checking that it prints the same, is smaller and is its own squeezed form."""
    text = textwrap.dedent(text)
    squeezed = squeeze(text)
    folder.mkdir(exist_ok=True)
    assert printed(squeezed, folder) == printed(text, folder) == printed(pack(squeezed), folder)
    assert squeeze(squeezed) == squeezed and len(squeezed) < len(text)
    return squeezed


def test_what_only_readers_need_is_gone(tmp_path: Path) -> None:
    squeezed = both(
        '''
        """The title.

        It stays.
        """

        from typing import Any, Protocol  # for types


        class Speaks(Protocol):
            """What can speak."""

            def word(self) -> str:
                """A word."""


        def unused(x: int) -> int:
            """Calls the other unused one."""
            return also_unused(x)


        def also_unused(x: int) -> int:
            return unused(x)


        """A text between."""


        def greet(one: Speaks, *rest: Any, **more: Any) -> str:  # a comment
            """The greeting."""
            words: list[str] = ["# no comment", one.word()]
            found: str
            if rest:
                found = "rest"
            else:
                found = "none"
            return "\\n".join([*words, found])


        class Dog:
            legs: int = 4
            name: str

            def word(self) -> str:
                """What it says."""
                return "wuff"


        if __name__ == "__main__":
            print(greet(Dog()), greet(Dog(), 1), Dog.legs)
        ''',
        tmp_path,
    )
    assert squeezed.startswith('"""The title.\n\nIt stays.\n"""\n')
    for gone in ("Protocol", "Speaks", "unused", "Any", "-> str", "list[str]", "a comment", "between", "A word"):
        assert gone not in squeezed
    assert "# no comment" in squeezed and "else: found = 'none'" in squeezed


def test_fields_keep_their_annotations_and_a_protocol_that_is_gone_becomes_object(tmp_path: Path) -> None:
    squeezed = both(
        """
        from dataclasses import InitVar, dataclass, field, fields
        from typing import ClassVar, Protocol


        class Shape(Protocol):
            def size(self) -> int: ...


        @dataclass(frozen=True, kw_only=True)
        class Thing:
            first: int = 1  # of all
            shape: Shape | None = None
            shapes: tuple[Shape, ...] = ()
            count: ClassVar[int] = 0
            start: InitVar[int] = 3
            name: str = field(default="x")

            def size(self) -> int:
                return self.first


        print(Thing(first=2), Thing(), [one.name for one in fields(Thing)], Thing().size())
        """,
        tmp_path,
    )
    assert "first: int = 1" in squeezed and "ClassVar[int]" in squeezed and "InitVar[int]" in squeezed
    assert "shape: object = None" in squeezed and "shapes: object = ()" in squeezed and "class Shape" not in squeezed


def test_constants_of_a_dataclass_that_nothing_reads_are_gone(tmp_path: Path) -> None:
    text = """
        from dataclasses import dataclass


        class Base:
            small = 1


        @dataclass(frozen=True)
        class Technique(Base):
            width: int = 3
            small = {"laptop": {"width": {"times": 0.5}}, "smoke": {"width": 1}}
            attribute = 1
            text = 2
            inside = 3
            other = inside + 1
            made = tuple([4])
            __secret__ = 5

        @dataclass(frozen=True)
        class Alone:
            large = {"width": 9}


        class Plain:
            large = 7


        one = Technique()
        print(one, one.attribute, getattr(one, "te" "xt"), one.other, Technique.__secret__, Alone(), Plain().__class__)
    """
    squeezed = both(text, tmp_path)
    assert "laptop" not in squeezed and "class Alone: pass" in squeezed and "small = 1" in squeezed
    assert "large = 7" in squeezed and "made = tuple([4])" in squeezed and "inside = 3" in squeezed
    for name in ("small", "large"):
        kept = both(text.replace("one.other", f"getattr(one, '{name}', 0)"), tmp_path)
        assert ("laptop" in kept) == (name == "small")


def test_annotations_that_something_reads_stay(tmp_path: Path) -> None:
    squeezed = both(
        """
        def compiled(function):
            print(function.__name__, sorted(function.__dict__), function.__code__.co_name)
            return function


        @compiled
        def kernel(x: "constexpr", block: "constexpr" = 128) -> None:
            def inner(y: int) -> int:
                return y

            print(inner(x) + block)


        class Row(tuple):
            key: str = "k"


        kernel(1)
        print(Row.key)
        """,
        tmp_path,
    )
    assert "x: 'constexpr'" in squeezed and "def inner(y)" in squeezed and "key: str = 'k'" in squeezed
    reads = both(
        '''
        from typing import get_type_hints


        def documented(x: int) -> str:
            """What it does."""
            value: int = x
            return documented.__doc__ + str(value)


        print(get_type_hints(documented), documented(1))
        ''',
        tmp_path,
    )
    assert "x: int" in reads and "What it does." in reads


def test_names_and_what_runs_once_stay_what_they_were(tmp_path: Path) -> None:
    squeezed = both(
        '''
        import math
        import sys as system
        from os import path as unused, sep

        COUNT = [0]


        def counted() -> int:
            COUNT[0] += 1
            return COUNT[0]


        def registered(cls):
            COUNT.append(cls.__name__)
            return cls


        FIRST = counted()  # nobody reads it, and it does something
        A, B = 1, 2
        PLAIN = (3, 4)


        @registered
        class Plugin:
            pass


        def local() -> str:
            x: int
            try:
                return str(x)
            except UnboundLocalError:
                return "unbound"


        x = 5
        text = """two
        lines, one with a colon:
            and an indent"""
        if A:
            for i in range(2):
                if i: print(i)
        else:
            print("never")


        @staticmethod
        def later(): return 1


        def several(n: int) -> int:
            total = 0
            total += n
            while n:
                n -= 1
            else:
                total += 1
            return total


        print(COUNT, local(), x, B, f"{x:>{A + 2}}" f"{text!r}", sep == system.modules["os"].sep, several(3), later())
        ''',
        tmp_path,
    )
    assert "math" not in squeezed and "PLAIN" not in squeezed and "unused" not in squeezed
    assert "FIRST = counted()" in squeezed and "Plugin" in squeezed


@pytest.mark.parametrize("module", [ast, dataclasses, json.decoder, subprocess, textwrap], ids=lambda one: one.__name__)
def test_it_is_a_fixed_point_on_code_that_was_not_written_for_it(module: object) -> None:
    text = Path(str(module.__file__)).read_text()  # type: ignore[attr-defined]
    squeezed = squeeze(text)
    assert squeeze(squeezed) == squeezed and len(squeezed) < len(text)
    compile(squeezed, "squeezed", "exec")


def test_the_packed_form_is_unpacked_without_running_it(tmp_path: Path) -> None:
    squeezed = squeeze(program(load(ROOT / "recipes" / "naive_baseline.yaml", "eight_h100")))
    (tmp_path / "train_gpt.py").write_text(pack(squeezed))
    found = script(tmp_path / "train_gpt.py", "train_gpt.py")
    assert (found.unpacked_bytes, found.layers, found.problem) == (len(squeezed.encode()), ("b85+lzma",), "")


def test_what_is_no_program_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not Python"):
        squeeze("def f(:\n")
    (tmp_path / "x.py").write_bytes(b"\xff\xfe\x00")
    for path in ("x.py", "nowhere.py"):
        done = CliRunner().invoke(main, [str(tmp_path / path)])
        assert done.exit_code == 2 and path in done.output and "Traceback" not in done.output
