"""The one file means what the package means; what could make it mean something else is refused, with its place."""

import ast
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.program.inline import inline

ROOT = Path(__file__).parents[2]
MAIN = 'if __name__ == "__main__":\n    print({})\n'

Tree = Callable[..., Path]


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    """Writes modules of jobs/: ``tree(**{"a": "...", "deep/b": "..."})`` makes jobs/a.py and jobs/deep/b.py."""

    def write(**modules: str) -> Path:
        for name, text in modules.items():
            path = tmp_path / "jobs" / f"{name}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text))
        return tmp_path

    return write


def run(program: str, folder: Path, *, root: Path | None = None) -> str:
    """What the program prints: alone in an empty folder with safe-path on, or with ``root`` on the path."""
    file = folder / "alone" / "program.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(program)
    options, environment = (["-P"], {}) if root is None else ([], {"PYTHONPATH": str(root)})
    command = [sys.executable, *options, str(file)]
    done = subprocess.run(command, cwd=file.parent, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout


def both_ways(entry: str, root: Path) -> str:
    """What ``entry`` prints, after checking that the package and the one file print the same."""
    program = inline(entry, root)
    assert "from jobs" not in program
    alone = run(program, root)
    assert alone == run(entry, root, root=root)
    return alone


def test_modules_come_after_what_they_import_and_once_each(tree: Tree) -> None:
    root = tree(
        base="X = 2\n",
        left="from jobs.base import X\n\n\ndef left() -> int:\n    return X + 1\n",
        **{"deep/right": "from jobs.base import X\nfrom jobs.left import left\n\n\ndef right(): return X * left()\n"},
    )
    entry = "from jobs.deep.right import right\nfrom jobs.left import left\n" + MAIN.format("left(), right()")
    assert both_ways(entry, root) == "3 6\n"
    program = inline(entry, root)
    places = [program.index(f"- {name} -") for name in ("jobs.base", "jobs.left", "jobs.deep.right", "entry")]
    assert places == sorted(places) and program.count("X = 2") == 1


def test_the_file_begins_with_the_docstring_of_the_entry(tree: Tree) -> None:
    entry = '"""What it is: "quoted", and\n\nmore."""\n\nimport math\nfrom jobs.a import f\n\n' + MAIN.format(
        "f(), math.e > 2"
    )
    program = inline(entry, tree(a='"""Of a."""\n\nimport json\n\n\ndef f() -> str:\n    return json.dumps([1])\n'))
    assert program.startswith('"""What it is: "quoted", and\n\nmore."""\n\nimport json\nimport math\n\n\n# ----')
    assert ast.get_docstring(ast.parse(program)) == 'What it is: "quoted", and\n\nmore.'
    assert program.count("What it is") == 1


def test_text_is_pasted_as_it_stands(tree: Tree) -> None:
    body = '''
        LIMIT = 16_000_000  # decimal, as the rules say


        @dataclass(frozen=True, kw_only=True)
        class Thing:
            """A thing, naïve: 中."""

            name: str = "ü"  # of the thing; 'import os' in here is text

            def size(self) -> int:
                import string  # in a function, where it stays

                text = """
        import os
        """
                return len(self.name) + len(text) + len(string.digits)
    '''
    root = tree(a="from dataclasses import dataclass" + textwrap.dedent(body))
    program = inline("from jobs.a import Thing\n" + MAIN.format("Thing().size()"), root)
    assert textwrap.dedent(body).strip("\n") in program
    assert both_ways("from jobs.a import Thing\n" + MAIN.format("Thing(name='x').size()"), root) == "22\n"


@pytest.mark.parametrize(
    ("imports", "left"),
    [
        ("import json, math\n", ""),
        ("from math import (\n    e,  # of Euler\n    pi,\n)\n", ""),
        ("from math import e, \\\n    pi\n", ""),
        ("import json; import math\n", ""),
        ("import json; X = 1; import math\n", "X = 1"),
        ("X = 1; import json  # why\n", "X = 1  # why"),
        ("import json; X = 1  # kept\n", "X = 1  # kept"),
        ("Y = 'ü'; import json; X = 'ü'\n", "Y = 'ü'; X = 'ü'"),
        ("# above\nimport json  # behind\n# below\n", "# above\n# below"),
        ("import json;\n", ""),
        ("import json\r\nX = 1\r\n", "X = 1"),
    ],
)
def test_imports_are_cut_out_exactly(tree: Tree, imports: str, left: str) -> None:
    root = tree()
    (root / "jobs").mkdir()
    (root / "jobs" / "a.py").write_bytes((imports + "\ndef f(): return 1\n").encode())
    program = inline("from jobs.a import f\n", root)
    pasted = program.partition("- jobs.a -")[2].partition("\n# ----")[0].partition("\n")[2]
    assert pasted.strip() == f"{left}\n\ndef f(): return 1".strip()
    compile(program, "program", "exec")


def test_imports_of_all_modules_are_gathered_once(tree: Tree) -> None:
    root = tree(
        a="""
            import os.path
            import xml.dom as dom
            from typing import Any, Literal

            A: Any = dom, os
            B: Literal[1] = 1
        """,
        b="""
            import os
            from typing import Any, Protocol
            from jobs.a import A

            class P(Protocol):
                x: Any = (os, A)
        """,
    )
    program = inline("from jobs.b import P\n" + MAIN.format("P.__name__"), root)
    assert program.startswith(
        "import os\nimport os.path\nimport xml.dom as dom\nfrom typing import Any, Literal, Protocol\n\n"
    )
    assert run(program, root) == "P\n"


def test_a_long_import_is_wrapped(tree: Tree) -> None:
    names = ", ".join(name for name in sorted(vars(ast)) if name[0].isupper() and name != "Ellipsis")[:400].rpartition(
        ","
    )[0]
    program = inline(
        "from jobs.a import f\n", tree(a=f"from ast import {names}\n\ndef f(): return {names.split(',')[0]}\n")
    )
    assert max(map(len, program.partition("# ---")[0].splitlines())) <= 120
    compile(program, "program", "exec")


def test_a_name_passed_on_is_the_same_name(tree: Tree) -> None:
    root = tree(a="def f(): return 7\n", b="from jobs.a import f\n\n\ndef g(): return f()\n")
    assert both_ways("from jobs.a import f\nfrom jobs.b import f, g\n" + MAIN.format("f() + g()"), root) == "14\n"


def test_what_a_module_may_do(tree: Tree) -> None:
    root = tree(
        a='''
        """Docstring."""

        import functools
        from collections.abc import Callable

        A, B = 1, (2, 3)
        C: int = A + len([x for x in B if x > 2])
        Alias = Callable[[int], int]
        "a stray remark"


        @functools.lru_cache(maxsize=1)
        def cached(x: "Later | None" = None, *, scale: float = float(C)) -> float:
            try:
                from a_package_nobody_has import nothing
            except ImportError:
                nothing = None
            return scale if nothing is None else 0.0


        async def waits() -> str: return __debug__ and type(cached).__name__


        class Later[T] if False else Later: ...
        '''.replace(
            "class Later[T] if False else Later: ...", "class Later:\n            name = __qualname__ if False else 'x'"
        )
    )
    assert (
        both_ways("from jobs.a import Alias, cached\n" + MAIN.format("cached(), Alias is not None"), root)
        == "2.0 True\n"
    )


def test_the_same_text_every_time(tree: Tree) -> None:
    root = tree(**{f"m{n}": f"import m{n}\nfrom n{n % 3} import x{n}\n\nX{n} = m{n}, x{n}\n" for n in range(20)})
    entry = "".join(f"from jobs.m{n} import X{n}\n" for n in range(20))
    code = "import pathlib, sys, platform.program.inline as i; print(i.inline(sys.argv[1], pathlib.Path(sys.argv[2])))"
    texts = {
        subprocess.run([sys.executable, "-c", code, entry, str(root)], cwd=ROOT, env={"PYTHONHASHSEED": seed},
                       capture_output=True, text=True, check=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert texts == {inline(entry, root) + "\n"}


FINE = "def f(): return 1\n"
FORM = "write 'from jobs.x import name' at the top level, not "
DOES = "a module of jobs/ defines and does nothing else, this runs: "
NOT_HERE = "in the one file it is not about this module"

MISUSES = {
    "import of the module": ({"a": FINE, "b": "import jobs.a\n"}, f"jobs/b.py:1: {FORM}'import jobs.a'"),
    "import with an alias": ({"a": FINE, "b": "import jobs.a as a\n"}, f"jobs/b.py:1: {FORM}'import jobs.a as a'"),
    "import from the package": ({"a": FINE, "b": "from jobs import a\n"}, f"jobs/b.py:1: {FORM}'from jobs import a'"),
    "a name with an alias": ({"a": FINE, "b": "from jobs.a import f as g\n"}, f"jobs/b.py:1: {FORM}'from jobs.a"),
    "a star": ({"a": FINE, "b": "from jobs.a import *\n"}, "jobs/b.py:1: from jobs.a import *: name what you import"),
    "a star of others": ({"b": "from math import *\n"}, "jobs/b.py:1: from math import *: name what you import"),
    "a relative import": ({"a": FINE, "b": "from .a import f\n"}, f"jobs/b.py:1: {FORM}'from .a import f'"),
    "a relative sibling": ({"a": FINE, "b": "from . import a\n"}, f"jobs/b.py:1: {FORM}'from . import a'"),
    "an import in a function": (
        {"a": FINE, "b": "def g():\n    from jobs.a import f\n    return f()\n"},
        f"jobs/b.py:2: {FORM}'from jobs.a import f'",
    ),
    "a plain import in a method": (
        {"a": FINE, "b": "class G:\n    def g(self):\n        import jobs.a\n"},
        f"jobs/b.py:3: {FORM}'import jobs.a'",
    ),
    "an import for types only": (
        {"a": FINE, "b": "from typing import TYPE_CHECKING\n\nif TYPE_CHECKING:\n    from jobs.a import f\n"},
        f"jobs/b.py:3: {DOES}if TYPE_CHECKING:; an import for types only has no place here",
    ),
    "an optional import": (
        {"b": "X = 1\ntry:\n    import json\nexcept ImportError:\n    json = None\n"},
        f"jobs/b.py:2: {DOES}try:",
    ),
    "from the future": (
        {"b": "from __future__ import annotations\n"},
        "jobs/b.py:1: from __future__ import annotations: it would change every other module",
    ),
    "a cycle": (
        {"a": "\nfrom jobs.b import g\n", "b": "from jobs.c import h\n", "c": "from jobs.a import f\n"},
        "jobs/a.py:2: an import cycle: jobs.b -> jobs.c -> jobs.a -> jobs.b",
    ),
    "itself": ({"b": "from jobs.b import f\n"}, "jobs/b.py:1: an import cycle: jobs.b -> jobs.b"),
    "two functions of one name": (
        {
            "a": "\n\n" + FINE,
            "c": "\ndef f(): return 2\n\ndef g(): return 1\n",
            "b": "from jobs.a import f\nfrom jobs.c import g\n",
        },
        "jobs/c.py:2: f is jobs.c.f, and jobs.a.f in jobs/a.py:3; rename one",
    ),
    "a constant and a function of one name": (
        {"a": "A, (f, B) = 1, (2, 3)\n", "b": "from jobs.a import A\n\ndef f(): return A\n"},
        "jobs/b.py:3: f is jobs.b.f, and jobs.a.f in jobs/a.py:1",
    ),
    "two classes of one name": (
        {"a": "class Layer: ...\nX = 1\n", "b": "from jobs.a import X\n@print\nclass Layer:\n    x = X\n"},
        "Layer is jobs.b.Layer, and jobs.a.Layer in jobs/a.py:1",
    ),
    "a function with an imported name": (
        {"a": "from json import loads\nX = loads\n", "b": "from jobs.a import X\ndef loads(): return X\n"},
        "jobs/b.py:2: loads is jobs.b.loads, and json.loads in jobs/a.py:1",
    ),
    "one alias of two modules": (
        {"a": "import json as np\nX = np\n", "b": "import math as np\nfrom jobs.a import X\nY = np, X\n"},
        "jobs/b.py:1: np is math, and json in jobs/a.py:1",
    ),
    "a module and its class": (
        {"a": "import datetime\nX = datetime\n", "b": "from datetime import datetime\nfrom jobs.a import X\n"},
        "jobs/b.py:1: datetime is datetime.datetime, and datetime in jobs/a.py:1",
    ),
    "an import that is replaced": (
        {"a": FINE, "b": "from jobs.a import f\n\n\ndef f(): return 2\n"},
        "f is jobs.b.f, and jobs.a.f in jobs/a.py:1",
    ),
    "a call": ({"b": "print('hello')\n"}, f"jobs/b.py:1: {DOES}print('hello')"),
    "a loop": ({"b": "X = []\nfor n in range(3):\n    X.append(n)\n"}, f"jobs/b.py:2: {DOES}for n in range(3):"),
    "a setting": ({"b": "import os\nos.environ['A'] = '1'\n"}, f"jobs/b.py:2: {DOES}os.environ['A'] = '1'"),
    "an attribute of another": ({"b": "import json\njson.x = 1\n"}, f"jobs/b.py:2: {DOES}json.x = 1"),
    "an addition": ({"b": "X = 1\nX += 1\n"}, f"jobs/b.py:2: {DOES}X += 1"),
    "a deletion": ({"b": "X = 1\ndel X\n"}, f"jobs/b.py:2: {DOES}del X"),
    "a main block": ({"b": "if __name__ == '__main__':\n    pass\n"}, f"jobs/b.py:1: {DOES}if __name__ == "),
    "its name": ({"b": "import logging\n\nLOG = logging.getLogger(__name__)\n"}, f"jobs/b.py:3: __name__: {NOT_HERE}"),
    "its file": ({"b": "def g():\n    return __file__\n"}, f"jobs/b.py:2: __file__: {NOT_HERE}"),
    "its package": ({"b": "class G:\n    x = __package__\n"}, f"jobs/b.py:2: __package__: {NOT_HERE}"),
    "its docstring": ({"b": '"""Mine."""\n\n\ndef g(): return __doc__\n'}, f"jobs/b.py:4: __doc__: {NOT_HERE}"),
    "its globals": ({"b": "def g(): return globals()\n"}, f"jobs/b.py:1: globals: {NOT_HERE}"),
    "a global variable": (
        {"b": "X = 0\n\n\ndef g():\n    global X\n    X += 1\n"},
        "global X: pass it, or keep it in an object",
    ),
    "a hidden builtin": ({"b": "def max(x): return x\n"}, "jobs/b.py:1: max: hides the builtin in every module"),
    "a hidden builtin by import": ({"b": "\nfrom math import pow\n"}, "jobs/b.py:2: pow: hides the builtin in every"),
    "a word for the module": ({"b": "\n__all__ = ['g']\n"}, "jobs/b.py:2: __all__: speaks for a module of the one"),
    "a name it does not import": (
        {
            "b": "from jobs.c import g\n\n\ndef h(): return helper() + g()\n",
            "c": "def g(): return 1\ndef helper(): return 1\n",
        },
        "jobs/b.py:4: helper: neither defined nor imported here",
    ),
    "a module that is not there": (
        {"feed/relu": FINE, "b": "\nfrom jobs.feed.rely import f\n"},
        "jobs/b.py:2: jobs.feed.rely: no such module; did you mean 'jobs.feed.relu'?",
    ),
    "a folder": (
        {"feed/relu": FINE, "b": "from jobs.feed import relu\n"},
        "jobs/b.py:1: jobs.feed: a folder; import from a module in it",
    ),
    "a name that is not there": (
        {"a": "def build(): return 1\n", "b": "\nfrom jobs.a import biuld\n"},
        "jobs/b.py:2: jobs.a has no biuld; did you mean 'build'?",
    ),
    "a package that runs": (
        {"feed/__init__": "X = 1\n", "feed/relu": FINE, "b": "from jobs.feed.relu import f\n"},
        "jobs/feed/__init__.py would not be in the one file",
    ),
    "no Python": ({"b": "X = 1\ndef g(:\n"}, "jobs/b.py:2: not Python: invalid syntax"),
    "an import that goes on": (
        {"b": "import json \\\n\nanything = 1\n"},
        "jobs/b.py:1: give this import lines of its own",
    ),
}


@pytest.mark.parametrize("case", MISUSES)
def test_misuse_is_refused_with_its_place(tree: Tree, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    modules, message = MISUSES[case]
    root = tree(**modules)
    monkeypatch.chdir(root)
    with pytest.raises(UserError) as error:
        inline("from jobs.b import anything\n", root)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("from __future__ import annotations\nfrom jobs.a import f\n", "entry:1: from __future__"),
        ("import os\nos.nice(0)\nfrom jobs.a import f\n", "entry:3: imports come first, and will in the one file"),
        ("def g():\n    from jobs.a import f\n", "entry:2: write 'from jobs.x import name' at the top level"),
        ("if True:\n    from jobs.a import f\n", "entry:2: write 'from jobs.x import name' at the top level"),
        ("from jobs.a import f\nf = 2\n", "entry:1: f is entry.f, and jobs.a.f in jobs/a.py:1"),
        ("from jobs.a import f\nprint(g)\n", "entry:2: g: neither defined nor imported here"),
        ("from jobs.a import f\nprint(\n", "entry:2: not Python"),
        ("from jobs.a import f\nX = '\0'\n", "entry: not Python"),
    ],
)
def test_misuse_in_the_entry(tree: Tree, monkeypatch: pytest.MonkeyPatch, entry: str, message: str) -> None:
    root = tree(a=FINE)
    monkeypatch.chdir(root)
    with pytest.raises(UserError) as error:
        inline(entry, root)
    assert message in str(error.value)


def test_bytes_that_are_no_text(tree: Tree) -> None:
    root = tree(a=FINE)
    (root / "jobs" / "a.py").write_bytes(b"X = '\xff'\n")
    with pytest.raises(UserError, match=r"a\.py: not Python in UTF-8"):
        inline("from jobs.a import X\n", root)


def test_all_modules_of_jobs_fit_into_one_file() -> None:
    """No two techniques are in each other's way, even those that no recipe has put together yet.

    A module with a ``main`` is the end of a program, which has one: here that of the job.
    """
    entry, there = "", set()
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        nodes = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.ClassDef | ast.FunctionDef)]
        names = {node.name for node in nodes}
        if names and ("main" not in names or path.stem == "train"):
            entry += f"from {'.'.join(path.relative_to(ROOT).with_suffix('').parts)} import {min(names)}\n"
            there |= names
    program = inline(entry, ROOT)
    compile(program, "program", "exec")
    assert len(entry.splitlines()) > 20
    assert there <= {node.name for node in ast.parse(program).body if hasattr(node, "name")}


def test_all_of_jobs_can_be_one_file() -> None:
    """Programs and audits have parts of it: what keeps two modules from standing in one file is found here first."""
    imports = []
    for path in sorted((ROOT / "jobs").rglob("*.py")):
        body = ast.parse(path.read_text()).body
        defined = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
        assigned = [ast.unparse(node.targets[0]) for node in body if isinstance(node, ast.Assign)]
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        imports.append(f"from {module} import {[*defined, *assigned][0]}\n")
    assert len(imports) > 50
    compile(inline("".join(imports) + "\n\n" + MAIN.format(1), ROOT), "everything", "exec")
