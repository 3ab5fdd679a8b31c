"""Our package ``platform`` answers for the standard module, wherever Python is started, and jobs see the original."""

import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORIGINAL = Path(os.__file__).with_name("platform.py")


def python(code: str, *arguments: str, cwd: Path = ROOT, **environment: str) -> str:
    """What a fresh interpreter prints."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "COV_"))}
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=cwd, env=clean | environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture(scope="module")
def ours() -> object:
    """The package, loaded beside the modules that pytest has."""
    folder = ROOT / "platform"
    spec = importlib.util.spec_from_file_location(
        "platform", folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def original() -> object:
    spec = importlib.util.spec_from_file_location("platform", ORIGINAL)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def names(module: object) -> list[str]:
    return [name for name in vars(module) if name not in ("__builtins__", "__path__", "__cached__")]


def test_every_name_of_the_original_is_there_and_nothing_else(ours: object, original: object) -> None:
    assert sorted(names(ours)) == sorted(names(original))
    assert len(names(original)) > 60, "the original has lost its names: is this the standard module?"


def test_every_name_means_the_same(ours: object, original: object) -> None:
    for name in set(names(original)) - {"__file__", "__loader__", "__spec__", "__package__"}:
        here, there = getattr(ours, name), getattr(original, name)
        assert type(here) is type(there), name
        if hasattr(there, "__code__"):
            assert here.__code__ == there.__code__, name
            assert here.__module__ == "platform", name
        elif isinstance(there, str | int | dict | list | tuple):
            assert here == there or name.endswith("_cache"), name


@pytest.mark.parametrize(
    "function", ["system", "machine", "node", "release", "version", "python_version", "uname", "platform"]
)
def test_functions_answer_as_the_original_does(ours: object, original: object, function: str) -> None:
    assert tuple(getattr(ours, function)()) == tuple(getattr(original, function)())


def test_in_a_checkout_it_is_ours_and_has_submodules() -> None:
    code = "import platform, platform.errors, uuid, asyncio; print(platform.__path__[0]); print(platform.system())"
    assert python(code).splitlines()[:2] == [str(ROOT / "platform"), os.uname().sysname]


def test_uname_survives_a_pickle() -> None:
    code = "import pickle, platform; print(pickle.loads(pickle.dumps(platform.uname())) == platform.uname())"
    assert python(code) == "True"


def test_heavy_packages_import_with_it() -> None:
    """Ray, MLflow and pandas use names of the standard module while they are imported; pandas stands for all here."""
    assert python("import pandas, platform; print(platform.__path__ is not None, pandas.__name__)") == "True pandas"


def test_spawned_processes_find_submodules(tmp_path: Path) -> None:
    script = tmp_path / "spawns.py"
    script.write_text(
        "import multiprocessing, sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "def ask(_):\n"
        "    import platform, platform.errors\n"
        "    return platform.errors.__file__, platform.system()\n"
        "if __name__ == '__main__':\n"
        "    sys.modules.pop('platform', None)\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool:\n"
        "        print(*pool.map(ask, [0])[0], sep=chr(10))\n"
    )
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.stdout.splitlines() == [str(ROOT / "platform" / "errors.py"), os.uname().sysname], done.stderr


@pytest.mark.parametrize("launcher", [["pytest"], ["python", "-m", "pytest"]], ids=["bare", "module"])
def test_under_pytest(tmp_path: Path, launcher: list[str]) -> None:
    """A bare ``pytest`` has loaded the standard module before it reads any conftest.py."""
    for name in ("conftest.py", "pyproject.toml"):
        (tmp_path / name).write_text((ROOT / name).read_text())
    for name in ("platform", "jobs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(
        "import platform\nfrom platform.paths import ROOT\ndef test():\n    assert platform.system(), ROOT\n"
    )
    first, *rest = launcher
    command = [str(Path(sys.executable).with_name(first)), *rest, "-q", "-p", "no:cacheprovider", "tests"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=900)
    assert "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_job_sees_the_standard_module(tmp_path: Path) -> None:
    """A program runs in a folder of its own and with safe-path on, as torchrun starts it."""
    program = tmp_path / "train_gpt.py"
    program.write_text("import platform\nprint(platform.__file__, hasattr(platform, '__path__'))\n")
    runner = ["-P", "-m", "torch.distributed.run", "--nproc-per-node=1", "--standalone"]
    done = subprocess.run(
        [sys.executable, *runner, str(program)], cwd=ROOT, capture_output=True, text=True, timeout=900,
        env={**os.environ, "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.stdout.split() == [str(ORIGINAL), "False"], done.stderr


def test_ray_workers_find_submodules(tmp_path: Path) -> None:
    """Ray starts its workers with the standard module loaded, unless our folder comes with ``py_modules``."""
    code = """
import ray, shlex, sys
root, folder = sys.argv[1:]
ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, _temp_dir=folder,
         runtime_env={"py_modules": [f"{root}/platform", f"{root}/jobs"],
                      "py_executable": shlex.quote(sys.executable)})
@ray.remote
def ask():
    import platform, platform.paths
    return platform.system(), platform.paths.RUNS.name, len(platform.__path__)
print(*ray.get(ask.remote(), timeout=900))
ray.shutdown()
"""
    token = tmp_path / "token"  # its own: the user's other clusters share the one in the home folder
    token.write_text("0" * 64)
    token.chmod(0o600)
    with tempfile.TemporaryDirectory(prefix="ray") as folder:  # short: a socket's path has at most 107 bytes
        answer = python(code, str(ROOT), folder, RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_TOKEN_PATH=str(token))
    assert answer.split()[-3:] == [os.uname().sysname, "runs", "1"]
