"""What is told of a script by its text: each way to read a variable, and what cannot be told is said to be so."""

import base64
import lzma
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from platform.errors import UserError
from platform.scripts.source import Source, read_source
from tests.scripts.written import BASELINE, COMPACT, SPACED, saved

ROOT = Path(__file__).parents[2]


def read(folder: Path, text: str) -> Source:
    return read_source(saved(folder, text))


def found(source: Source) -> dict[str, tuple[str | None, str | None]]:
    """Default and kind of each variable."""
    return {one.name: (one.default, one.kind) for one in source.variables}


def test_the_style_of_the_baseline(tmp_path: Path) -> None:
    source = read(tmp_path, BASELINE)
    assert found(source) == {
        "DATA_PATH": ("./data/datasets/fineweb10B_sp1024", None),
        "TOKENIZER_PATH": ("./data/tokenizers/fineweb_1024_bpe.model", None),
        "RUN_ID": (None, None),
        "SEED": ("1337", "int"),
        "ITERATIONS": ("20000", "int"),
        "BATCH_TOKENS_K": ("512", "int"),
        "MAX_WALLCLOCK_SECONDS": ("600.0", "float"),
        "TIE_EMBEDDINGS": ("1", "bool"),
        "EMBED_LR": ("0.6", "float"),
        "TIED_EMBED_LR": ("0.05", "float"),
        "MATRIX_LR": ("0.04", "float"),
        "RANK": (None, "int"),
    }
    by_name = {one.name: one for one in source.variables}
    assert (by_name["SEED"].attributes, by_name["SEED"].line) == (
        ("seed",),
        BASELINE[: BASELINE.find("SEED")].count("\n") + 1,
    )
    assert (by_name["BATCH_TOKENS_K"].attributes, by_name["BATCH_TOKENS_K"].derived) == ((), ("batch_tokens",))
    assert source.whole and source.dialect == "baseline"
    assert source.imports == ("os", "pathlib", "sentencepiece", "torch", "uuid")
    assert source.optional_imports == ("flash_attn_interface", "wandb")
    assert source.data_variables == ("DATA_PATH", "TOKENIZER_PATH")
    assert source.prints == ("tie_embeddings:", "iterations:", "seed:", "step:")


def test_the_style_of_helpers(tmp_path: Path) -> None:
    source = read(tmp_path, SPACED)
    assert found(source) == {
        "SEED": ("42", "int"),
        "NUM_LAYERS": ("11", "int"),
        "EMA_DECAY": ("0.997", "float"),
        "TTT_ENABLED": (None, "bool"),
        "DATA_DIR": ("./data/", None),
    }
    assert {one.name: one.attributes for one in source.variables}["EMA_DECAY"] == ("ema_decay",)
    assert source.whole and source.dialect == "spaced"


def test_the_compact_style(tmp_path: Path) -> None:
    source = read(tmp_path, COMPACT)
    assert found(source) == {
        "MUON_MOMENTUM": ("0.95", "float"),
        "HEAD_LR": ("0.02", "float"),
        "ADAM_WD": ("0.0", "float"),
        "MUON_WD": ("0.0", "float"),
        "SEED": ("7", "int"),
        "TOKENIZER_PATH": ("./data/tokenizers/fineweb_8192_bpe.model", None),
    }
    assert {one.name: one.attributes for one in source.variables}["ADAM_WD"] == ("adam_wd",)
    assert source.whole and source.dialect == "compact"


WAYS = {
    "subscript": ('x = os.environ["A"]', {"A"}),
    "setdefault": ('os.environ.setdefault("A", "1")', {"A"}),
    "in": ('x = 1 if "A" in os.environ else 2', {"A"}),
    "not in": ('if "A" not in os.environ: pass', {"A"}),
    "getenv": ('x = os.getenv("A", "b")', {"A"}),
    "imported names": ('from os import environ as e, getenv as g\nx = e["A"], g("B")', {"A", "B"}),
    "star import": ('from os import *\nx = environ["A"], getenv("B")', {"A", "B"}),
    "module under a name": ('import os as o\nx = o.environ["A"], o.getenv("B")', {"A", "B"}),
    "no import": ('x = __import__("os").environ["A"]', {"A"}),
    "alias": ('env = os.environ\nx = env["A"], env.get("B")', {"A", "B"}),
    "alias of get": ('E = os.environ.get\nx = E("A")', {"A"}),
    "alias in a function": ('def f():\n    e = os.environ\n    return e["A"]\nf()', {"A"}),
    "copy": ('e = dict(os.environ)\nx = e.get("A")', {"A"}),
    "self": (
        'class C:\n    def __init__(self):\n        self.env = os.environ\n    def f(self): return self.env["A"]',
        {"A"},
    ),
    "handed to a function": ('def f(e): return e["A"]\nf(os.environ)', {"A"}),
    "getter handed to a function": ('def f(get): return get("A")\nf(os.environ.get)', {"A"}),
    "default of a parameter": ('def f(name, e=os.environ): return e[name]\nf("A")', {"A"}),
    "helper": ('def f(n, d): return int(os.environ.get(n, d))\nx = f("A", 1), f(d=2, n="B")', {"A", "B"}),
    "helper of a helper": ('def f(n): return os.environ[n]\ndef g(n): return f("X_" + n)\nx = g("A")', {"X_A"}),
    "lambda": ('f = lambda n, d=0: os.environ.get(n, d)\nx = f("A")', {"A"}),
    "method": ('class C:\n    def get(self, n): return os.environ[n]\nc = C()\nx = c.get("A"), {}.get("B")', {"A"}),
    "static method": ('class C:\n    @staticmethod\n    def env(n): return os.environ[n]\nx = C.env("A")', {"A"}),
    "partial": ('from functools import partial\ndef f(n): return os.environ[n]\nx = partial(f, "A")()', {"A"}),
    "star arguments": ('def f(n, d): return os.environ.get(n, d)\nPAIR = ("A", 1)\nx = f(*PAIR)', {"A"}),
    "loop over a list": ('for n in ["A", "B"]:\n    x = os.environ[n]', {"A", "B"}),
    "loop over a table": (
        'T = {"a": 1, "b": 2}\nfor n, d in T.items():\n    x = os.environ.get(n.upper(), d)',
        {"A", "B"},
    ),
    "loop with a name of its own": (
        'for n in ("a", "b"):\n    key = f"X_{n}"\n    x = os.environ[key]',
        {"X_a", "X_b"},
    ),
    "comprehension": ('x = {n: os.environ.get(n) for n in ("A", "B")}', {"A", "B"}),
    "helper in a loop": ('def f(n): return os.environ[n]\nfor n in ("A", "B"): f(n)', {"A", "B"}),
    "constant name": ('NAME = "A" + "B"\nx = os.environ[NAME]', {"AB"}),
    "percent": ('x = os.environ["%s_%d" % ("A", 1)]', {"A_1"}),
    "either name": ('x = os.environ["A" if y else "B"]', {"A", "B"}),
    "walrus": ('if (x := os.environ.get("A")): pass', {"A"}),
    "fields of a class": (
        'class C:\n    depth = 1\n    _hidden = 2\nfor n in vars(C):\n    if not n.startswith("_"):\n'
        "        if n.upper() in os.environ: setattr(C, n, os.environ[n.upper()])",
        {"DEPTH"},
    ),
    "fields of a dataclass": (
        "from dataclasses import fields\nclass C:\n    depth: int = 1\n    width: int = 2\n"
        "for f in fields(C):\n    x = f.type(os.environ.get(f.name.upper(), f.default))",
        {"DEPTH", "WIDTH"},
    ),
    "globals": (
        "depth = 1\nwidth = 2.0\nnames = [k for k, v in globals().items() if isinstance(v, (int, float))]\n"
        "for k in names:\n    x = os.environ.get(k.upper())",
        {"DEPTH", "WIDTH", "NAMES", "K", "X"},  # those whose values are not known may be among them
    ),
    "getattr": ('x = getattr(os, "environ")["A"]', {"A"}),
    "written only": ('os.environ["A"] = "1"\nos.environ.update(B="2")\ndel os.environ["C"]', set()),
    "a comment and a text": ('# os.environ["A"]\nx = "os.environ[\'B\']"', set()),
    "another environ": ('environ = {"A": 1}\nx = environ["A"]', set()),
    "a dead helper": ("def f(n): return os.environ[n]", set()),
    "in the environment of a child": (
        'import subprocess\nsubprocess.run(["nvidia-smi"], env={**os.environ, "A": "1"})',
        set(),
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_read_a_variable(tmp_path: Path, way: str) -> None:
    text, names = WAYS[way]
    source = read(tmp_path, f"import os\n{text}\n")
    assert {one.name for one in source.variables} == names
    assert source.whole, source.why_not_whole


UNKNOWN = {
    "made at run time": ("import sys\nx = os.environ[sys.argv[1]]", "line 3"),
    "of a parameter that nobody gives": (
        "class C:\n    def forward(self, n): return os.environ[n]",
        "made at run time",
    ),
    "of a function that is handed on": ("def f(n): return os.environ[n]\nx = map(f, names)", "made at run time"),
    "all of it": ("for k, v in os.environ.items(): pass", "goes through all"),
    "handed on": ("x = load(dict(os.environ))", "hands all environment variables to load()"),
    "with stars": ("x = Config(**os.environ)", "hands all environment variables to Config()"),
    "given back": ("def f(): return os.environ\nx = f()['A']", "hands all environment variables on"),
    "exec": ("exec(open('configurator.py').read())", "runs a text"),
    "another program": ("import subprocess, sys\nsubprocess.run([sys.executable, 'b.py'])", "starts another program"),
    "a package for it": ("from pydantic_settings import BaseSettings", "pydantic_settings"),
    "a table that grows": ("T = []\nT.append(y)\nfor n in T: x = os.environ[n]", "made at run time"),
}


@pytest.mark.parametrize("way", UNKNOWN)
def test_what_cannot_be_told_is_said(tmp_path: Path, way: str) -> None:
    text, why = UNKNOWN[way]
    source = read(tmp_path, f"import os\n{text}\n")
    assert not source.whole and why in source.why_not_whole


def test_what_is_printed(tmp_path: Path) -> None:
    text = (
        'print("lr: %.3f wd=%s" % (a.lr, 0))\nlog0("seed:" + str(a.seed))\nlogger.info("n: {} m: {:.2f}".format(n, m))'
        '\nprint("plain")\nprint("width:", width)\nnothing("x:")\nprint(f"{a}:")\nf.write(f"{t=}")\n'
    )
    source = read(tmp_path, text)
    assert source.prints == ("lr:", "seed:", "n:", "plain", "width:", "t=")
    assert [(one.label, one.of, one.is_rounded) for one in source.shown] == [
        ("lr", "lr", True),
        ("wd", "", False),
        ("seed", "seed", False),
        ("n", "n", False),
        ("m", "m", True),
        ("width", "width", False),
        ("t", "t", False),
    ]


def test_files_beside_it_are_read_too(tmp_path: Path) -> None:
    saved(tmp_path, "import os\nDEPTH = int(os.environ.get('DEPTH', 3))\n", "settings.py")
    source = read(tmp_path, "import os, settings\nx = os.environ['SEED']\n")
    assert {(one.name, one.file) for one in source.variables} == {("SEED", ""), ("DEPTH", "settings.py")}
    assert source.beside == ("settings.py",) and source.imports == ("os",) and source.whole


def packed(text: str) -> str:
    data = base64.b85encode(lzma.compress(text.encode())).decode()
    return f'import lzma as L, base64 as B\nexec(L.decompress(B.b85decode("{data}")))\n'


def test_a_packed_script_is_read_inside(tmp_path: Path) -> None:
    source = read(tmp_path, packed(BASELINE))
    assert found(source) == found(read_source(saved(tmp_path, BASELINE, "plain.py")))
    assert source.whole and source.layers == ("b85+lzma",)
    assert source.unpacked_bytes == len(BASELINE.encode()) and source.bytes == len(packed(BASELINE))


def test_one_that_cannot_be_unpacked_is_not_whole(tmp_path: Path) -> None:
    whole = packed(BASELINE)
    source = read(tmp_path, whole.replace('")))', '!")))').replace('b85decode("', 'b85decode("~~'))
    assert not source.whole and "it is packed, and its packed text cannot be" in source.why_not_whole
    inside = read(tmp_path, packed("".join(f"def f{i}(:\n" for i in range(400))))
    assert not inside.whole and "no Python" in inside.why_not_whole


def test_nothing_of_it_runs(tmp_path: Path) -> None:
    trace = tmp_path / "was_run"
    evil = f"open({str(trace)!r}, 'w')\n" * 40
    for text in (evil, packed(evil), f"import os, evil\n{evil}"):
        saved(tmp_path, evil, "evil.py")
        read(tmp_path, text)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\ndef f(:\n    pass\n", "train_gpt.py:2: it is no Python"),
        ("x = \0", "train_gpt.py"),
        ("x = " + "(" * 5_000 + ")" * 5_000, "train_gpt.py"),
        ("x = " + "-" * 200_000 + "1", "cannot be parsed"),
        ("x = " + "1+" * 200_000 + "1", "cannot be parsed"),
        ("x=1;" * 110_000, "more than 400,000 parts"),
        ("#" * (5 << 20), "too many for a script"),
    ],
    ids=["syntax", "nul", "brackets", "minuses", "sums", "parts", "bytes"],
)
def test_what_is_no_script_is_one_message(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)) as caught:
        read(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes(b"x = 1\ny = '\xff'\n")
    with pytest.raises(UserError, match=r"a\.py:2: it is no text in UTF-8"):
        read_source(tmp_path / "a.py")
    with pytest.raises(UserError, match="no such file"):
        read_source(tmp_path / "b.py")


def test_made_to_take_long(tmp_path: Path) -> None:
    """Ten calls of ten calls of ..., loops in loops and texts that would grow: an end comes, and it is not whole."""
    chain = "".join(
        f"def f{i}(n): return {' + '.join([f'f{i + 1}(n + {str(j)!r})' for j in range(10)])}\n" for i in range(12)
    )
    loops = "".join(f"{'    ' * i}for n{i} in range(1000):\n" for i in range(8))
    text = (
        f"import os\n{chain}def f12(n): return os.environ[n]\nf0('A')\n"
        f"{loops}{'    ' * 8}x = os.environ[f'{{n0}}{{n7}}']\n"
        "y = os.environ['%999999999d' % 1]\nz = os.environ['a' * 999999999]\n"
    )
    source = read(tmp_path, text)
    assert not source.whole and len(source.variables) < 20_000


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "platform.recipe", *arguments]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)

    script = saved(tmp_path, BASELINE.replace("import uuid", "import uuid, not_there_at_all"))
    shown = run(str(script))
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^  SEED +1337 +int +seed +line \d+$", shown.stdout, re.MULTILINE)
    assert "not_there_at_all (NOT INSTALLED)" in shown.stdout and "dialect  baseline" in shown.stdout
    assert f"{script.stat().st_size:,} bytes; packed as lzma in base85" in shown.stdout
    refused = run(str(script), "--program")
    assert refused.returncode == 2 and "takes --json alone" in refused.stderr
    assert run("recipes/leaky_cosine.yaml", "--json").returncode == 2
    wrong = run(str(saved(tmp_path, "def f(:", "wrong.py")))
    assert wrong.returncode == 2 and "wrong.py:1: it is no Python" in wrong.stderr and "Traceback" not in wrong.stderr


READS = re.compile(
    r"(?:environ(?:\.(?:get|pop|setdefault))?|getenv)\s*[(\[]\s*([\"'])(?P<read>\w+)\1(?!\s*\]\s*=[^=])"
    r"|([\"'])(?P<asked>\w+)\3\s+(?:not\s+)?in\s+os\.environ"
)


def grepped(text: str) -> set[str]:
    """The names that stand beside an environment in the text itself, comments left out."""
    code = "\n".join(line.partition("#")[0] for line in text.split("\n"))
    return {match["read"] or match["asked"] for match in READS.finditer(code)}


def public_scripts() -> list[Path]:
    folders = [
        Path(os.environ[name]) for name in ("GOLF_RECORDS", "GOLF_FIELD_CASES", "GOLF_SCRIPTS") if name in os.environ
    ]
    return [path for folder in folders for path in sorted(folder.rglob("*.py"))]


@pytest.mark.skipif(
    not public_scripts(), reason="no script in the folders that GOLF_RECORDS, GOLF_FIELD_CASES and GOLF_SCRIPTS name"
)
@pytest.mark.parametrize("path", public_scripts(), ids=str)
def test_public_scripts_are_read_as_a_search_in_their_text_finds(path: Path) -> None:
    source = read_source(path)
    names = {one.name for one in source.variables}
    if not source.layers:
        assert grepped(path.read_text(encoding="utf-8")) - names == set()


@pytest.mark.parametrize("text", [BASELINE, SPACED, COMPACT], ids=["baseline", "spaced", "compact"])
def test_a_search_in_the_text_finds_nothing_more(tmp_path: Path, text: str) -> None:
    assert grepped(text) - {one.name for one in read(tmp_path, text).variables} == set()
    assert grepped(BASELINE) >= {"SEED", "DATA_PATH", "RANK"}, "the search itself finds them"
