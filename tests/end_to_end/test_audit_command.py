"""The command that audits a recipe, as a person types it, and what a launch keeps of it."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from platform.audit import main as audit_command
from platform.errors import RunFailed, UserError
from platform.paths import ROOT
from platform.processes import guarded
from platform.processes.guarded import Ended
from platform.processes.supervisor import marked
from platform.reports import build, tables
from platform.reports.audit import show
from platform.running import audit
from platform.running.audit import audited_choices
from platform.running.experiment import Request, prepare
from platform.runs.audits import Audit, read
from platform.runs.reading import from_data
from platform.runs.results import read_run
from tests.finished import small_data

DETECTORS = ["D1", "D2", "D3", "D4", "D5", "D6", "D7", "D8", "D9", "D13"]
RECIPE = """
question: Is each arm what it says?
base: naive_baseline
arms:
  no_ttt: no_adaptation
  diagnostic: {pre_eval: {epochs: 2, before_quantization: true}}
  legal: {score_first: {epochs: 1}}
"""
LEARNS_FIRST = """
        if learner and number + 1 < len(chunks):
            learner.learn(tokens[begin : end + 1].clone(), chunk=number, num_chunks=len(chunks))
"""


def command(*words: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "platform.audit", *words]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=900)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe in a folder of its own, with a space in its name."""
    path = tmp_path_factory.mktemp("my recipes") / "arms.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def done(recipe: Path) -> subprocess.CompletedProcess[str]:
    return command(str(recipe), "--scale", "smoke", "--json")


def test_it_says_of_every_arm_what_it_is(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["recipe"], found["scale"]) == ("arms", "smoke")
    assert {name: arm["verdict"] for name, arm in found["arms"].items()} == {
        "no_ttt": "score_first",
        "diagnostic": "pre_eval",
        "legal": "score_first",
    }
    for arm in found["arms"].values():
        assert arm["agrees"] and arm["declared"] == arm["verdict"]
        assert list(arm["detectors"]) == DETECTORS
        for finding in arm["detectors"].values():
            assert set(finding) == {"passed", "figure", "threshold", "about"}
    fired = {name for name, finding in found["arms"]["diagnostic"]["detectors"].items() if not finding["passed"]}
    assert fired == {"D2", "D3", "D6", "D8", "D9"}
    sizes = found["sizes"]
    assert sizes["parameters"] > 50_000 and sizes["probe_targets"] == 150 and sizes["canary_targets"] == 1024
    assert [line.partition(" in ")[0] for line in done.stderr.splitlines()] == [
        "audited no_ttt",
        "audited diagnostic",
        "audited legal",
    ]


def test_how_it_looks(done: subprocess.CompletedProcess[str], recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = from_data(Audit, json.loads(done.stdout))
    show(found, recipe)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("arms at scale smoke, made small: ") and "150 and 1,024 targets" in lines[0]
    assert "diagnostic: pre_eval" in lines and sum(line.startswith("  D13 passed") for line in lines) == 3
    assert sum("FIRED" in line for line in lines) == 5
    arms = {**found.arms, "legal": replace(found.arms["legal"], verdict="violates D7", agrees=False)}
    show(replace(found, arms=arms), recipe)
    assert "legal: violates D7, but its program declares score_first" in capsys.readouterr().out


def test_an_arm_that_is_not_what_it_declares_and_one_that_cannot_be_audited(tmp_path: Path) -> None:
    """A checkout whose scoring loop hands out a chunk before it is scored; one arm fails, the others are audited."""
    for folder in ("jobs", "platform", "recipes"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    loop = tmp_path / "jobs" / "scoring.py"
    text = loop.read_text()
    begins = "        begin, end = chunk[0].score_from, chunk[-1].end\n"
    assert begins in text and LEARNS_FIRST in text
    loop.write_text(text.replace(LEARNS_FIRST, "\n        if False:\n").replace(begins, begins + LEARNS_FIRST))
    knobs = "{epochs: 1, learning_rate_groups: {no.such.layer: 2.0}}"
    path = tmp_path / "broken.yaml"
    path.write_text(RECIPE.replace("{epochs: 2, before_quantization: true}", knobs))
    ended = command(str(path), "--scale", "smoke", cwd=tmp_path)
    assert ended.returncode == 1, ended.stderr
    assert "\nno_ttt: score_first\n" in ended.stdout and ended.stdout.count("  D13 passed") == 2
    assert "\nlegal: violates D2, D3" in ended.stdout and ", but its program declares score_first" in ended.stdout
    assert "diagnostic: failed: Refused: learning_rate_groups: 'no.such.layer' is part of no" in ended.stdout
    assert "failed: the audit of broken disagrees with its program:\n  legal: violates D2, D3" in ended.stderr


def test_an_arm_that_cannot_be_audited_is_enough_to_fail(
    done: subprocess.CompletedProcess[str], recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = from_data(Audit, json.loads(done.stdout))
    failed = replace(found.arms["diagnostic"], verdict="failed: Refused: no such layer", agrees=False, detectors={})
    found = replace(found, arms={**found.arms, "diagnostic": failed})
    monkeypatch.setattr(audit, "run", lambda *_: found)  # the rest was made by the real one
    ended = CliRunner().invoke(audit_command, [str(recipe), "--scale", "smoke"])
    assert ended.exit_code == 1 and "diagnostic: not audited" in ended.stderr
    assert "\nno_ttt: score_first\n" in ended.stdout and "diagnostic: failed: Refused: no such layer" in ended.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["RECIPE", "--arm", "leggal"], "arms: no arm 'leggal'; possible: no_ttt, diagnostic, legal; did you mean"),
        (["RECIPE", "--arm", "legal", "--arm", "legal"], "arms: legal is asked for twice"),
        (["RECIPE", "--scale", "desktop"], "no scale 'desktop'; possible: eight_h100"),
        (["nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes(recipe: Path, words: list[str], message: str) -> None:
    ended = command(*(str(recipe) if word == "RECIPE" else word for word in words))
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and message in ended.stderr and "Traceback" not in ended.stderr


def test_nothing_heavy_is_imported() -> None:
    recipe = "a.Path('recipes/two_phase.yaml')"
    code = f"import sys, platform.running.audit as a; a.audit_program(a.audited_choices({recipe}, 'smoke'))"
    check = f"{code}; print({{'torch', 'ray', 'mlflow', 'pandas', 'numpy'}} & set(sys.modules))"
    ended = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert ended.stdout.strip() == "set()", ended.stderr


def test_what_is_audited_is_the_scale_s_own() -> None:
    choices = audited_choices(ROOT / "recipes" / "leaky_cosine.yaml", "eight_h100")
    assert choices.arms["adamw_50"].value("epochs") == 50 and choices.scale == "eight_h100"
    assert choices.setting("shape", "model_dim") == 64
    text = audit.audit_program(choices)
    assert "epochs=50" in text and text.endswith("    audit(RECIPE, __file__)\n")


# What it does with a program that ends badly


def test_a_program_that_refuses() -> None:
    with pytest.raises(UserError, match="two_phase: the model has no scales"):
        audit.run("import sys\nprint('1 s\\ntwo_phase: the model has no scales', file=sys.stderr)\nsys.exit(2)\n")


def test_a_program_that_crashes(capsys: pytest.CaptureFixture[str]) -> None:
    """Its progress is shown while it runs, the rest once, in the message."""
    with pytest.raises(RunFailed, match=r"(?s)the audit ended with status 1:.*ZeroDivisionError"):
        audit.run("import sys\nprint('{')\nprint('audited a in 1 s', file=sys.stderr)\n1 / 0\n")
    assert capsys.readouterr().err == "audited a in 1 s\n"


def test_what_a_program_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret and no import path of ours; one thread, no GPU, the arms asked for."""
    for name in ("HF_TOKEN", "PYTHONPATH", "SEED", "ARMS", "MLFLOW_RUN_ID"):
        monkeypatch.setenv(name, "x")
    text = (
        "import json, os\n"
        "arm = dict(verdict=json.dumps(dict(os.environ)), declared='score_first', agrees=False, detectors={})\n"
        "print(json.dumps(dict(recipe='r', scale='s', sizes={}, seconds=0.0, arms={'env': arm})))\n"
    )
    told = json.loads(audit.run(text, ("a", "b")).arms["env"].verdict)
    assert told["ARMS"] == "a,b" and told["OMP_NUM_THREADS"] == "1" and told["CUDA_VISIBLE_DEVICES"] == ""
    assert not {"HF_TOKEN", "PYTHONPATH", "SEED", "MLFLOW_RUN_ID"} & set(told)


# A child in a session of its own that no SIGTERM ends, as a second rank may be; "a" is audited, "b" comes to no end.
HANGS = """
import os, signal, subprocess, sys, time
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", deaf], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.readline()
open(os.path.join(os.environ["TMPDIR"], "half done"), "w").close()
print("b: step 1", file=sys.stderr, flush=True)
print("audited a in 0.1 s", file=sys.stderr, flush=True)
time.sleep(600)
"""


@pytest.fixture
def tag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Of every process that the test starts: a folder that is not there, first in PATH. TMPDIR is empty."""
    tag = f"/nowhere/{uuid.uuid4().hex}"
    monkeypatch.setenv("PATH", f"{tag}:{os.environ['PATH']}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield tag
    for pid in marked("PATH", tag):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")
def test_an_audit_that_comes_to_no_end(tag: str, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"did not come to an end within 3 s and was ended: .* loops for ever"):
        audit.run(HANGS, ("a", "b"), seconds=3)
    assert not marked("PATH", tag) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("arms", [(), ("a",), ("a", "b", "c")])
def test_every_arm_has_its_time(
    arms: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*_: object, seconds: float, tell: Callable[[str], None], **__: object) -> Ended:
        assert seconds == audit.START_SECONDS + audit.ARM_SECONDS * (len(arms) or 1)
        for line in ("audited a in 0.1 s", "b: step 1"):
            tell(line)
        return Ended(status=-15, stdout="", stderr="", timed_out=True)

    monkeypatch.setattr(guarded, "run", run)
    with pytest.raises(RunFailed, match=r"within (480|840) s and was ended: .*\nb: step 1$"):
        audit.run("", arms)
    assert capsys.readouterr().err == "audited a in 0.1 s\n"


@pytest.mark.skipif(sys.platform != "linux", reason="the guard finds processes in /proc")
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_whatever_ends_the_launch_ends_the_audit(tag: str, tmp_path: Path, number: signal.Signals) -> None:
    """The process that runs it does nothing about the signal; nothing is left, processes or files."""
    default = "import signal; signal.signal(signal.SIGHUP, signal.SIG_DFL)"  # the tests may run under nohup
    audits = f"from platform.running import audit; audit.run({HANGS!r}, ('a', 'b'))"
    launch = [sys.executable, "-c", f"{default}; {audits}"]
    process = subprocess.Popen(launch, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None and process.stderr.readline() == "audited a in 0.1 s\n"
    assert len(marked("PATH", tag)) >= 3, "it, the audit and its child"
    assert [path.name for folder in tmp_path.iterdir() for path in folder.iterdir()]
    process.send_signal(number)
    assert process.wait(600) == -number
    deadline = time.monotonic() + 600
    while marked("PATH", tag) or list(tmp_path.iterdir()):
        assert time.monotonic() < deadline, "something is left"
        time.sleep(0.05)


# What a launch keeps


def test_a_run_is_audited_once(
    done: subprocess.CompletedProcess[str], recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = from_data(Audit, json.loads(done.stdout))
    asked: list[tuple[str, ...]] = []

    def run(program: str, arms: tuple[str, ...] = ()) -> Audit:
        asked.append(arms)
        return replace(whole, program_sha256=audit._sha256(program), arms={arm: whole.arms[arm] for arm in arms})

    data, tokenizer = small_data(tmp_path / "data")

    def audited(path: Path, *arms: str) -> Audit:
        request = Request(scale="smoke", arms=arms, runs=tmp_path, data=data, tokenizer=tokenizer)
        experiment = prepare(path, request)
        return audit.of_experiment(replace(experiment, draft=replace(experiment.draft, run_path=tmp_path)))

    monkeypatch.setattr(audit, "run", run)  # what it gives was made by the real one
    first = audited(recipe, "no_ttt")
    assert list(first.arms) == ["no_ttt"] and asked == [("no_ttt",)]
    assert audited(recipe, "no_ttt") == first and len(asked) == 1
    both = audited(recipe, "no_ttt", "legal")
    assert list(both.arms) == ["no_ttt", "legal"] and asked[1:] == [("legal",)]
    assert read(tmp_path / "audit.json") == both
    changed = tmp_path / "arms.yaml"
    changed.write_text(RECIPE.replace("{epochs: 1}", "{epochs: 1, learning_rate: 0.01}"))
    other = audited(changed, "legal")
    assert other.program_sha256 != both.program_sha256 and list(other.arms) == ["legal"] and asked[2:] == [("legal",)]
    (tmp_path / "audit.json").write_text("{")
    audited(recipe, "legal")
    assert len(asked) == 4


def test_a_disagreement_fails(done: subprocess.CompletedProcess[str]) -> None:
    found = from_data(Audit, json.loads(done.stdout))
    audit.require_agreement(found)
    arms = {**found.arms, "legal": replace(found.arms["legal"], verdict="violates D7", agrees=False)}
    with pytest.raises(RunFailed, match="legal: violates D7, but its program declares score_first"):
        audit.require_agreement(replace(found, arms=arms))


def test_a_report_says_what_the_audit_said(make_run: Callable[..., Any]) -> None:
    folder = make_run({"no_ttt": {1337: 2.3}, "sgd": {1337: 2.2}, "adamw": {1337: 2.1}}, audited=False)
    assert "- audit: none\n" in tables.to_markdown(build.build(read_run(folder.path)))
    folder.audit(no_ttt="violates D7", adamw="failed: it came to no end")
    told = build.build(read_run(folder.path))
    assert {arm.name: arm.claimable for arm in told.arms} == {"no_ttt": False, "sgd": False, "adamw": False}
    assert [line for line in told.warnings if "audit" in line] == [
        "no_ttt: its program declares score_first, the audit says violates D7.",
        "adamw: failed: it came to no end. It adapts, so it may not be claimed before it is audited.",
    ]
    text = tables.to_markdown(told)
    assert "- audit: no_ttt violates D7, sgd pre_eval, adamw failed: it came to no end\n" in text
    assert "no: violates D7" in text


@pytest.mark.soak
@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("*.yaml")))
@pytest.mark.parametrize("scale", ["laptop", "smoke", "eight_h100"])
def test_every_recipe_of_the_field(name: str, scale: str) -> None:
    ended = command(f"recipes/{name}.yaml", "--scale", scale, "--json")
    assert ended.returncode == 0, ended.stderr
    for arm in json.loads(ended.stdout)["arms"].values():
        assert arm["verdict"] in ("score_first", "pre_eval")
