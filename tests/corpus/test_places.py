"""Data on a node that has them not: found by hash, fetched once, never taken where they are others."""

import functools
import http.server
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.contract.shards import data_sha256, file_sha256
from platform.corpus import places
from platform.errors import RunFailed
from tests.finished import small_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_data(tmp_path_factory.mktemp("data") / "set")[0]


@pytest.fixture
def served(data: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(data))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRWAY_DATA", str(tmp_path / "node"))
    return tmp_path / "node" / "data"


def found(data: Path, *wanted: str, fetch: places.Fetch | None = None) -> tuple[Path, list[str]]:
    def from_nowhere(name: str, to: Path) -> None:
        raise OSError(f"no {name} from home")

    told: list[str] = []
    contents = {path.name: file_sha256(path) for path in sorted(data.glob("*.bin"))}
    where = places.found(
        data_sha256(data), wanted, shards=lambda: contents, fetch=fetch or from_nowhere, tell=told.append
    )
    return where, told


def test_a_folder_counts_where_it_holds_this_very_data(data: Path, tmp_path: Path, empty_cache: Path) -> None:
    other, same = tmp_path / "other", tmp_path / "same"
    shutil.copytree(data, other)
    shutil.copytree(data, same)
    shard = next(other.glob("*_val_*"))
    shard.write_bytes(shard.read_bytes()[:-2] + b"\1\0")
    assert found(data, str(tmp_path / "none"), str(other), str(same)) == (same, [])
    assert list(empty_cache.iterdir()) == []


def test_what_is_fetched_is_kept_and_checked(data: Path, served: str, empty_cache: Path) -> None:
    where, told = found(data, f"{served}no/such/folder", served)
    assert where == empty_cache / data_sha256(data)[:16] and told[-1] == f"the data are fetched from {served}"
    assert data_sha256(where) == data_sha256(data)
    assert found(data, "http://127.0.0.1:1/") == (where, []), "once for each node"
    shard = next(where.glob("*_train_*"))
    shard.write_bytes(b"broken")
    assert found(data, served)[0] == where and shard.read_bytes() != b"broken", "one that broke is fetched again"


def test_sources_of_pyarrow_and_the_machine_of_the_launch(data: Path, empty_cache: Path) -> None:
    where, _ = found(data, f"file://{data}")
    shutil.rmtree(where)
    where, told = found(data, "https://127.0.0.1:1", fetch=lambda name, to: to.write_bytes((data / name).read_bytes()))
    assert data_sha256(where) == data_sha256(data) and told[-1] == "the data are fetched from the machine of the launch"


def test_another_text_is_never_taken(data: Path, empty_cache: Path) -> None:
    def other(name: str, to: Path) -> None:
        to.write_bytes((data / name).read_bytes()[:-2] + b"\1\0")

    with pytest.raises(RunFailed, match="nowhere to be had") as refused:
        found(data, "http://127.0.0.1:1/", fetch=other)
    assert "Connection refused" in str(refused.value) and "it should be" in str(refused.value)
    assert not any(empty_cache.rglob("*.bin"))


def test_a_place_of_no_known_kind_is_refused(data: Path) -> None:
    with pytest.raises(RunFailed, match=r"ftp://host/x: possible are a folder, http\(s\)://, s3://"):
        found(data, "ftp://host/x")
