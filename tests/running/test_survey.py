"""What a worker finds out of its node: a real probe on this CPU, a stand-in nvidia-smi, a real git checkout."""

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from jobs.contract.files import to_data
from platform.paths import ROOT
from platform.running import probing
from platform.running.probing import Probing, probe_program
from platform.running.survey import Survey, checkout_of
from platform.runs.node import Probe

FIGURES = {"device": "cpu", "dtype": "float32", "matmul_tflops": [[0.5, 0.6]], "copy_gb_per_s": [[9.0, 9.5]]}
COUNTED = f"""
import os, pathlib
pathlib.Path(os.environ["XDG_RUNTIME_DIR"], str(os.getpid())).touch()
print('''{json.dumps(FIGURES)}''')
"""
SMI = """#!/bin/sh
case "$*" in
--query-gpu=*) cat <<'END'
NVIDIA H100 80GB HBM3, 570.86.15, 1980, 2619, 1980, 2619, 700.00
NVIDIA H100 80GB HBM3, 570.86.15, [N/A], 2619, [Not Supported], 2619, [Unknown Error]
END
;;
"") echo '| NVIDIA-SMI 570.86.15      Driver Version: 570.86.15      CUDA Version: 12.8     |' ;;
*) exit 6 ;;
esac
"""
MakeProbing = Callable[..., Probing]


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a file for each start of the COUNTED program; cache and temp are the test's own."""
    folder = tmp_path / "starts"
    folder.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))  # a variable that goes through to programs
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return folder


def a_probing(program: str = COUNTED, launch: str = "one") -> Probing:
    return Probing(launch=launch, program=program, with_cards=False)


def test_a_real_probe_of_this_cpu(starts: Path) -> None:
    made = a_probing(probe_program()).probe()
    assert made.failed == "" and (made.device, made.dtype, made.launch) == ("cpu", "float32", "one")
    assert len(made.matmul_tflops) == len(made.copy_gb_per_s) == 1
    assert len(made.matmul_tflops[0]) >= 5 and 0 < made.tflops < 1000 and 0 < made.gb_per_s < 10_000
    assert made.seconds > 0
    again = a_probing("raise SystemExit('not run a second time')").probe()
    assert again == made


def test_it_is_measured_once_a_launch_and_hour(starts: Path, tmp_path: Path) -> None:
    def count() -> int:
        return len(list(starts.iterdir()))

    first = a_probing().probe()
    assert (first.tflops, count()) == (0.55, 1)
    assert a_probing(launch="two").probe() == first and count() == 1, "within the hour"
    kept = tmp_path / "cache" / "fairway" / "probe.json"
    ((key, _),) = json.loads(kept.read_text()).items()

    def aged(minutes: float, **changes: object) -> None:
        time = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")
        kept.write_text(json.dumps({key: to_data(replace(first, time=time, **changes))}))  # type: ignore[arg-type]

    aged(61)
    assert a_probing(launch="one").probe().tflops == 0.55 and count() == 1, "still the same launch"
    assert a_probing(launch="two").probe().launch == "two" and count() == 2
    aged(-5)
    assert a_probing(launch="three").probe().launch == "three" and count() == 3, "a clock that went back"
    aged(1, failed="no card is free", matmul_tflops=(), copy_gb_per_s=())
    assert a_probing(launch="four").probe().failed == "" and count() == 4, "another launch tries again"
    kept.write_text("[half a fi")
    assert a_probing(launch="five").probe().failed == "" and count() == 5
    kept.write_text(json.dumps({key.replace("cpu", "cuda all"): to_data(first)}))
    a_probing(launch="six").probe()
    assert count() == 6, "that was of other devices"
    assert len(json.loads(kept.read_text())) == 2, "which are kept beside"


def test_workers_that_begin_at_once_measure_once(starts: Path) -> None:
    code = "from tests.running.test_survey import a_probing, COUNTED; print(a_probing(COUNTED).probe())"
    started = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)
    ]
    said = [process.communicate(timeout=300)[0] for process in started]
    assert said == [said[0]] * 3 and "0.55 TFLOP/s" in said[0]
    assert len(list(starts.iterdir())) == 1


@pytest.mark.parametrize(
    ("program", "why"),
    [
        ("import sys; sys.exit('none of 8 cards is free')", "none of 8 cards is free"),
        ("import os; os.kill(os.getpid(), 9)", "exit status -9"),
        ("print('no figures')", "JSONDecodeError"),
        ("print('{\"device\": 7}')", "device is 7, where text belongs"),
        ("pass", "IndexError"),
        ("import time; time.sleep(900)", "it came to no end within 2 s"),
    ],
)
def test_a_probe_that_fails_says_why(starts: Path, program: str, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if "sleep" in program:
        monkeypatch.setattr(probing, "PROBE_SECONDS", 2.0)
    made = a_probing(program).probe()
    assert why in made.failed and "\n" not in made.failed
    assert str(made) == f"probe failed: {made.failed}"
    assert a_probing().probe() == made, "not again in this launch"


def test_jobs_that_cannot_be_inlined_cost_the_probe_alone(
    starts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probing, "ROOT", tmp_path)
    assert "jobs.probe: no such module" in a_probing(probe_program()).probe().failed


def test_nobody_waits_for_ever_for_another_probe(starts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(probing, "PROBE_SECONDS", 0.5)
    monkeypatch.setattr(probing.tempfile, "tempdir", str(tmp_path))
    lock = tmp_path / f"fairway-probe-{os.getuid()}.lock"
    with probing.held(lock):
        code = f"import fcntl, sys; fcntl.flock(open({str(lock)!r}), fcntl.LOCK_EX | fcntl.LOCK_NB)"
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 1
        made = a_probing().probe()
    assert "another probe comes to no end: process" in made.failed


def test_without_a_cache_it_is_kept_in_the_temp(starts: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "a file"))
    monkeypatch.setattr(probing.tempfile, "tempdir", str(tmp_path))
    assert a_probing().probe() == a_probing().probe() and len(list(starts.iterdir())) == 1
    (tmp_path / f"fairway-probe-{os.getuid()}.json").unlink()
    a_probing().probe()
    assert len(list(starts.iterdir())) == 2


def test_cards_as_nvidia_smi_tells_them(starts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "bin" / "nvidia-smi"
    smi.parent.mkdir()
    smi.write_text(SMI)
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{smi.parent}:{os.environ['PATH']}")
    survey = Survey(launch="one", checkout=None, program=COUNTED)
    found = survey.of_this_node(with_cards=False)
    assert (found.driver, found.cuda, found.unknown) == ("570.86.15", "12.8", "")
    first, second = found.cards
    assert first.name == second.name == "NVIDIA H100 80GB HBM3"
    assert (first.sm_mhz, first.max_memory_mhz, first.power_limit_watts) == (1980.0, 2619.0, 700.0)
    assert (second.sm_mhz, second.memory_mhz, second.max_sm_mhz, second.power_limit_watts) == (None, 2619.0, None, None)
    assert found.hardware == "2x NVIDIA H100 80GB HBM3, driver 570.86.15"
    smi.write_text("#!/bin/sh\necho NVIDIA-SMI has failed because it could not talk to the driver\nexit 9\n")
    broken = survey.of_this_node(with_cards=False)
    assert broken.cards == () and broken.unknown == (
        "nvidia-smi: NVIDIA-SMI has failed because it could not talk to the driver"
    )


def test_this_machine(starts: Path) -> None:
    found = Survey(launch="one", checkout=None, program=COUNTED).of_this_node(with_cards=False)
    assert found.hostname == os.uname().nodename and found.cores >= 1 and found.cpu
    assert found.memory_bytes is not None and found.memory_bytes > 2**28
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    import ray

    assert found.ray == ray.__version__ and found.torch is not None
    assert isinstance(found.probe, Probe) and found.measured == found.probe


def test_a_checkout_with_its_differences(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def git(*words: str) -> bytes:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        return subprocess.run(["git", "-C", root, *identity, *words], capture_output=True, check=True).stdout

    root = tmp_path / "with a space"
    root.mkdir()
    assert checkout_of(root) is None, "no git"
    git("init", "-q")
    assert checkout_of(root) is None, "no commit"
    (root / "a.py").write_text("a = 1\n")
    (root / ".gitignore").write_text("runs/\n")
    git("add", ".")
    git("commit", "-qm", "one")
    commit = git("rev-parse", "HEAD").decode().strip()
    clean = checkout_of(root)
    assert clean is not None and str(clean) == f"commit {commit[:12]}" and clean.diff_sha256 is None
    (root / "a.py").write_text("a = 2\n")
    (root / "new.py").write_text("b = 1\n")
    (root / "runs").mkdir()
    (root / "runs" / "plan.json").write_text("{}")
    changed = checkout_of(root)
    assert changed is not None and (changed.commit, changed.changed_files, changed.new_files) == (commit, 1, 1)
    assert changed.diff_sha256 == hashlib.sha256(git("diff", "HEAD")).hexdigest()
    assert str(changed) == f"commit {commit[:12]} + 2 changed files"
    monkeypatch.setenv("GIT_DIR", str(ROOT / ".git"))
    assert checkout_of(root) == changed, "whatever git is told of another repository"
    (root / "fairway").mkdir()
    assert checkout_of(root / "fairway") is None, "a copy inside somebody else's repository"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert checkout_of(root) is None, "git is not there"
