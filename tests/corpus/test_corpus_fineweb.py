"""The challenge's shards, fetched from a server on this machine that speaks what huggingface_hub needs."""

import hashlib
import json
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from jobs.contract.shards import SHARD_HEADER_INTS, SHARD_MAGIC, SHARD_VERSION, data_sha256
from platform.corpus import Remote, fineweb, missing
from platform.corpus.tokenizer import trained
from platform.errors import RunFailed, UserError
from platform.paths import ROOT

pytest.importorskip("huggingface_hub")

REPO = "someone/golf"
SHARDS = "datasets/datasets/fineweb10B_sp1024"
COMMIT = "c0ffee" * 6 + "c0ff"
TOKENIZER = "datasets/tokenizers/fineweb_1024_bpe.model"


@dataclass
class Hub:
    """A dataset repository behind HTTP. What it does wrong is set by the tests."""

    files: dict[str, bytes]
    url: str = ""
    cut_once: set[str] = field(default_factory=set)  # the connection breaks half-way, the first time
    refused: set[str] = field(default_factory=set)  # answered with 403
    wrong_size: set[str] = field(default_factory=set)  # listed with one byte less than there are
    requests: list[str] = field(default_factory=list)  # method and path, or RANGE and path

    def entry(self, path: str) -> dict[str, object]:
        size = len(self.files[path]) - (path in self.wrong_size)
        return {"type": "file", "oid": hashlib.sha1(self.files[path]).hexdigest(), "size": size, "path": path}

    def fetched(self) -> set[str]:
        """Names of the files whose content was asked for."""
        return {one.rpartition("/")[2] for one in self.requests if one.startswith("GET") and "/resolve/" in one}


def handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            pass

        def do_HEAD(self) -> None:
            self.file(body=False)

        def do_GET(self) -> None:
            path = unquote(urlsplit(self.path).path)
            tree = f"/api/datasets/{REPO}/tree/{COMMIT}/"
            if path == f"/api/datasets/{REPO}/revision/main":
                hub.requests.append(f"GET {path}")
                self.json({"id": REPO, "sha": COMMIT, "siblings": [], "tags": [], "downloads": 0, "private": False})
            elif path.startswith(tree):
                hub.requests.append(f"GET {path}")
                folder = path.removeprefix(tree) + "/"
                self.json([hub.entry(one) for one in hub.files if one.startswith(folder)])
            else:
                self.file(body=True)

        def do_POST(self) -> None:
            asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.json([hub.entry(one) for one in asked["paths"] if one in hub.files])

        def json(self, value: object) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def file(self, *, body: bool) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(f"{self.command} {path}")
            name = path.removeprefix(f"/datasets/{REPO}/resolve/{COMMIT}/")
            content = hub.files.get(name)
            if content is None or name in hub.refused:
                self.send_response(404 if content is None else 403)
                if content is None:
                    self.send_header("X-Error-Code", "RepoNotFound" if REPO not in path else "EntryNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            start = 0
            if wanted := self.headers.get("Range"):
                hub.requests.append(f"RANGE {path}")
                start = int(wanted.removeprefix("bytes=").split("-")[0])
            self.send_response(206 if start else 200)
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", str(len(content) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if body and name in hub.cut_once:
                hub.cut_once.remove(name)
                self.wfile.write(content[: len(content) // 2])
                self.close_connection = True
            elif body:
                self.wfile.write(content[start:])

    return Handler


def shard(tokens: int) -> bytes:
    header = struct.pack(f"<{SHARD_HEADER_INTS}i", SHARD_MAGIC, SHARD_VERSION, tokens, *[0] * (SHARD_HEADER_INTS - 3))
    ids = struct.pack("<250H", *range(4, 254))
    return header + (ids * (tokens // 250 + 1))[: 2 * tokens]


@pytest.fixture(scope="module")
def tokenizer() -> bytes:
    return trained([f"the number {number} and the next\n" for number in range(100)], 290)


@pytest.fixture
def hub(tokenizer: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    for variable in ("HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub home"))
    files = {f"{SHARDS}/fineweb_train_{number:06d}.bin": shard(5000 + number) for number in range(5)}
    files |= {f"{SHARDS}/fineweb_val_000000.bin": shard(900), TOKENIZER: tokenizer}
    hub = Hub(files=files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield hub
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def data_root(tmp_path: Path) -> Path:
    return tmp_path / "the data"


def left_over(data_root: Path) -> set[str]:
    """Names of everything that is not a shard, the tokenizer or the manifest under its final name."""
    expected = {"fineweb10B_sp1024", "fineweb_1024_bpe.model", "manifest.json", "datasets", "tokenizers"}
    return {p.name for p in data_root.rglob("*") if p.name not in expected and not p.name.startswith("fineweb_")}


def test_what_was_asked_for_is_fetched_and_fits_together(hub: Hub, data_root: Path) -> None:
    corpus = fineweb(data_root, train_shards=3, remote=Remote(repo=REPO, endpoint=hub.url))
    assert (corpus.train_tokens, corpus.val_tokens, corpus.val_bytes) == (5000 + 5001 + 5002, 900, None)
    assert corpus.data_path == data_root / "datasets" / "fineweb10B_sp1024"
    assert corpus.tokenizer_path == data_root / "tokenizers" / "fineweb_1024_bpe.model"
    for path in [*corpus.data_path.glob("*.bin"), corpus.tokenizer_path]:
        folder = SHARDS if path.suffix == ".bin" else "datasets/tokenizers"
        assert path.read_bytes() == hub.files[f"{folder}/{path.name}"]
    assert data_sha256(corpus.data_path)
    assert missing(corpus.data_path, corpus.tokenizer_path) is None
    assert not left_over(data_root)
    record = json.loads((corpus.data_path / "manifest.json").read_text())
    assert (record["repo"], record["commit"], len(record["bytes"])) == (REPO, COMMIT, 5)


def test_the_second_call_needs_no_server_and_more_shards_fetch_only_those(hub: Hub, data_root: Path) -> None:
    remote = Remote(repo=REPO, endpoint=hub.url)
    first = fineweb(data_root, train_shards=2, remote=remote)
    hub.requests.clear()
    assert fineweb(data_root, train_shards=2, remote=remote) == first
    assert not hub.requests
    fineweb(data_root, train_shards=4, remote=remote)
    assert hub.fetched() == {"fineweb_train_000002.bin", "fineweb_train_000003.bin"}


def test_a_broken_connection_is_taken_up_where_it_broke(hub: Hub, data_root: Path) -> None:
    name = "fineweb_train_000001.bin"
    hub.files[f"{SHARDS}/{name}"] = shard(12_000_000)  # more than two of the 10 MB pieces that are written at a time
    hub.cut_once.add(f"{SHARDS}/{name}")
    corpus = fineweb(data_root, train_shards=2, remote=Remote(repo=REPO, endpoint=hub.url))
    assert (corpus.data_path / name).read_bytes() == hub.files[f"{SHARDS}/{name}"]
    assert any(one.startswith("RANGE") and one.endswith(name) for one in hub.requests)


def test_after_a_failure_the_same_command_goes_on(hub: Hub, data_root: Path) -> None:
    remote = Remote(repo=REPO, endpoint=hub.url)
    hub.refused.add(f"{SHARDS}/fineweb_train_000001.bin")
    with pytest.raises(RunFailed, match=r"could not fetch from someone/golf.*403.*\n.*goes on from there"):
        fineweb(data_root, train_shards=3, remote=remote)
    folder = data_root / "datasets" / "fineweb10B_sp1024"
    had = {path.name for path in folder.glob("*.bin")}
    assert "fineweb_train_000001.bin" not in had
    assert not left_over(data_root)
    hub.refused.clear()
    hub.requests.clear()
    fineweb(data_root, train_shards=3, remote=remote)
    assert not (hub.fetched() & had)


def test_a_shard_that_was_damaged_since_is_fetched_again(hub: Hub, data_root: Path) -> None:
    remote = Remote(repo=REPO, endpoint=hub.url)
    corpus = fineweb(data_root, train_shards=2, remote=remote)
    damaged = corpus.data_path / "fineweb_train_000000.bin"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    hub.requests.clear()
    assert fineweb(data_root, train_shards=2, remote=remote) == corpus
    assert hub.fetched() == {damaged.name}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (shard(50)[:-1], "the header counts 50 tokens"),
        (b"<html>rate limited</html>" * 100, "magic number"),
        (b"", "shorter than a shard's header"),
    ],
)
def test_what_is_no_shard_never_gets_its_name(hub: Hub, data_root: Path, content: bytes, message: str) -> None:
    hub.files[f"{SHARDS}/fineweb_train_000000.bin"] = content
    with pytest.raises(RunFailed, match=f"{message}[^$]*That is what the server sent"):
        fineweb(data_root, train_shards=1, remote=Remote(repo=REPO, endpoint=hub.url))
    assert not list(data_root.rglob("fineweb_train_000000.bin*"))
    assert not left_over(data_root)


def test_what_is_no_tokenizer_never_gets_its_name(hub: Hub, data_root: Path) -> None:
    hub.files[TOKENIZER] = hub.files[TOKENIZER][:-7]
    with pytest.raises(RunFailed, match="not a whole SentencePiece model"):
        fineweb(data_root, train_shards=1, remote=Remote(repo=REPO, endpoint=hub.url))
    assert not list(data_root.rglob("*.model"))


def test_more_shards_than_there_are(hub: Hub, data_root: Path) -> None:
    with pytest.raises(UserError, match=r"no .*fineweb_train_000005.bin; it has 5 training and 1 validation shards"):
        fineweb(data_root, train_shards=80, remote=Remote(repo=REPO, endpoint=hub.url))
    assert not hub.fetched()


def test_too_small_a_disk(hub: Hub, data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    full = shutil.disk_usage(data_root.parent)._replace(free=10_000)
    monkeypatch.setattr("platform.corpus.challenge.shutil.disk_usage", lambda _: full)
    with pytest.raises(UserError, match=r"0\.0 GB to fetch, 0\.0 GB free; make room"):
        fineweb(data_root, train_shards=3, remote=Remote(repo=REPO, endpoint=hub.url))
    assert not hub.fetched()


def test_a_repository_that_is_not_there(hub: Hub, data_root: Path) -> None:
    with pytest.raises(UserError, match=r"else/where .*not there, or not for everybody[^$]*--repo"):
        fineweb(data_root, train_shards=1, remote=Remote(repo="else/where", endpoint=hub.url))
    with pytest.raises(UserError, match="--repo 'a/b/c'"):
        fineweb(data_root, train_shards=1, remote=Remote(repo="a/b/c", endpoint=hub.url))


def test_the_command_without_network_says_what_to_do(hub: Hub, data_root: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "platform.corpus",
        "fineweb",
        "--endpoint",
        "http://127.0.0.1:9",
        "--into",
        data_root,
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=900)
    assert done.returncode == 1
    assert "failed: could not fetch from willdepueoai/parameter-golf" in done.stderr
    assert "--scale laptop" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_command_reads_hf_endpoint_and_says_what_comes_next(hub: Hub, data_root: Path) -> None:
    command = [sys.executable, "-m", "platform.corpus", "fineweb", "--repo", REPO, "--train-shards", "1"]
    environment = {"HF_ENDPOINT": hub.url, "HOME": str(data_root.parent), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [*command, "--into", data_root], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "training    5,000 tokens" in done.stdout
    assert "but 62,021,632 are the whole validation text: no launch takes a part of it" in done.stdout
    assert done.stdout.splitlines()[-1].startswith(
        "next        python -m platform.launch recipes/leaky_cosine.yaml --data"
    )
