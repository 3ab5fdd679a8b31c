"""The challenge's own shards and tokenizer, fetched with huggingface_hub: 8 billion tokens, 16 GB.

    data/datasets/fineweb10B_sp1024/fineweb_train_000000.bin ... fineweb_val_000000.bin  manifest.json
    data/tokenizers/fineweb_1024_bpe.model

A file lies under its final name only when it is whole. A connection that breaks is taken up again; after a failed or
killed download the same command goes on with the shards that are not there yet.
Assumed, not tried against the real server: the repository and the paths inside it, which are those of the challenge's
download script. If they have moved: --repo OWNER/NAME, or --endpoint (HF_ENDPOINT) for a mirror.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.contract.shards import TRAIN_SHARDS, VAL_SHARDS, shard_tokens

from ..errors import RunFailed, UserError
from ..locks import exclusive
from .folder import MANIFEST_FILE, Corpus
from .preflight import vocabulary

REPO = "willdepueoai/parameter-golf"
DATASET = "fineweb10B_sp1024"
TOKENIZER = "fineweb_1024_bpe.model"
REMOTE_DATASET = f"datasets/datasets/{DATASET}"
REMOTE_TOKENIZER = f"datasets/tokenizers/{TOKENIZER}"
TRAIN_SHARDS_WANTED = 80  # what the challenge trains on
AT_ONCE = 8  # downloads; one connection does not fill the line of a rented machine


@dataclass(frozen=True, kw_only=True)
class Remote:
    """Where the challenge's files are fetched from."""

    repo: str = REPO
    revision: str = "main"  # branch, tag or commit
    endpoint: str | None = None  # None: HF_ENDPOINT, or huggingface.co


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """A file to fetch."""

    path: str  # in the repository
    size: int  # bytes
    final: Path


def fetch(data_root: Path, train_shards: int, remote: Remote) -> Corpus:
    """The challenge's corpus under ``data_root``: what is not there is fetched, all is checked.

    Where an earlier call fetched as much, no network is needed.

    Raises:
        UserError: fewer shards are to be had, or too little disk space.
        RunFailed: the server cannot be reached or answered with something else; what was fetched is kept.
    """
    folder, tokenizer = data_root / "datasets" / DATASET, data_root / "tokenizers" / TOKENIZER
    part = data_root / ".fineweb.part"
    if not _is_complete(folder, tokenizer, train_shards):
        with exclusive(part):
            try:
                commit = replace(remote, revision=_commit(remote))  # all files of one state, whoever commits meanwhile
                files = _listed(folder, tokenizer, train_shards, commit)
                _fetch_missing(files, part, commit)
                _write_manifest(folder, files, commit)
            finally:
                shutil.rmtree(part)
    return Corpus(
        name=DATASET,
        data_path=folder,
        tokenizer_path=tokenizer,
        train_tokens=sum(map(shard_tokens, folder.glob(TRAIN_SHARDS))),
        val_tokens=sum(map(shard_tokens, folder.glob(VAL_SHARDS))),
        val_bytes=None,
    )


def _is_complete(folder: Path, tokenizer: Path, train_shards: int) -> bool:
    """Whether an earlier call fetched at least this much and all of it is still whole."""
    try:
        sizes: dict[str, int] = json.loads((folder / MANIFEST_FILE).read_text())["bytes"]
        return (
            set(sizes) >= {path.name for path in _train_files(folder, train_shards)}
            and all((tokenizer if name == TOKENIZER else folder / name).stat().st_size == sizes[name] for name in sizes)
            and vocabulary(tokenizer) > 0
        )
    except (OSError, ValueError, KeyError):
        return False


def _train_files(folder: Path, train_shards: int) -> list[Path]:
    return [folder / f"fineweb_train_{number:06d}.bin" for number in range(train_shards)]


def _commit(remote: Remote) -> str:
    """The commit that the revision names now. This first question is asked once: without network, no long wait."""
    from huggingface_hub import HfApi

    _say(f"asking {_endpoint(remote)} for {remote.repo}")
    with _explained(remote):
        info = HfApi(endpoint=remote.endpoint).dataset_info(remote.repo, revision=remote.revision)
    return info.sha or remote.revision


def _listed(folder: Path, tokenizer: Path, train_shards: int, remote: Remote) -> list[RemoteFile]:
    """The tokenizer, all validation shards and the first ``train_shards`` training shards, with their sizes."""
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import RepoFile

    with _explained(remote):
        api, revision = HfApi(endpoint=remote.endpoint), remote.revision
        tree = list(api.list_repo_tree(remote.repo, REMOTE_DATASET, revision=revision, repo_type="dataset"))
        tree += api.get_paths_info(remote.repo, [REMOTE_TOKENIZER], revision=revision, repo_type="dataset")
    sizes = {entry.path: entry.size for entry in tree if isinstance(entry, RepoFile)}
    finals = {REMOTE_TOKENIZER: tokenizer}
    finals |= {f"{REMOTE_DATASET}/{path.name}": path for path in _train_files(folder, train_shards)}
    val = sorted(path for path in sizes if Path(path).match(VAL_SHARDS))
    finals |= {path: folder / Path(path).name for path in val}
    lacking = sorted(set(finals) - set(sizes)) or ([] if val else [f"{REMOTE_DATASET}/{VAL_SHARDS}"])
    if lacking:
        have = sum(Path(path).match(TRAIN_SHARDS) for path in sizes)
        raise UserError(
            f"{remote.repo} has no {lacking[0]}; it has {have} training and {len(val)} validation shards.\n"
            "Ask for at most as many with --train-shards, or name another --repo."
        )
    return [RemoteFile(path=path, size=sizes[path], final=final) for path, final in finals.items()]


def _fetch_missing(files: list[RemoteFile], part: Path, remote: Remote) -> None:
    wanted = [file for file in files if not _is_whole(file)]
    needed, free = sum(file.size for file in wanted), shutil.disk_usage(part).free
    if needed > free:
        raise UserError(
            f"{part.parent}: {needed / 1e9:,.1f} GB to fetch, {free / 1e9:,.1f} GB free; "
            "make room, name another disk with --into, or ask for fewer --train-shards"
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        futures = {pool.submit(_fetch_one, file, part, remote): file for file in wanted}
        try:
            for number, future in enumerate(as_completed(futures), 1):
                future.result()
                file = futures[future]
                _say(f"{number} of {len(wanted)}: {file.final.name}, {file.size / 1e6:,.1f} MB")
        finally:
            pool.shutdown(cancel_futures=True)


def _is_whole(file: RemoteFile) -> bool:
    try:
        _check(file.final)
        return file.final.stat().st_size == file.size
    except RunFailed:
        return False


def _fetch_one(file: RemoteFile, part: Path, remote: Remote) -> None:
    from huggingface_hub import hf_hub_download

    with _explained(remote):
        fetched = hf_hub_download(
            remote.repo,
            file.path,
            repo_type="dataset",
            revision=remote.revision,
            endpoint=remote.endpoint,
            local_dir=part,
        )
    _check(Path(fetched))
    file.final.parent.mkdir(parents=True, exist_ok=True)
    Path(fetched).replace(file.final)


def _check(path: Path) -> None:
    try:
        if path.name == TOKENIZER:
            vocabulary(path)
        else:
            shard_tokens(path)
    except ValueError as error:
        raise RunFailed(f"{error}\nThat is what the server sent; it was thrown away.") from None


@contextmanager
def _explained(remote: Remote) -> Iterator[None]:
    from huggingface_hub import errors

    where = f"{remote.repo} (dataset, revision {remote.revision}) at {_endpoint(remote)}"
    try:
        yield
    except errors.HFValidationError as error:
        raise UserError(f"--repo {remote.repo!r}: {error}") from None
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise RunFailed(_unreachable(where, error)) from None
        reason = str(error).strip().splitlines()[0]
        raise UserError(f"{where}: not there, or not for everybody: {reason}\nName another with --repo.") from None
    except _network_errors() as error:
        raise RunFailed(_unreachable(where, error)) from None


def _unreachable(where: str, error: BaseException) -> str:
    error = error.__cause__ or error  # what huggingface_hub says first is that its cache has no such file either
    reason = (str(error).strip() or type(error).__name__).splitlines()[0]
    return (
        f"could not fetch from {where}: {reason}\n"
        "What was fetched is kept, and the same command goes on from there. No network on this machine? Fetch on one\n"
        "that has it and copy data/datasets and data/tokenizers here, use a mirror with --endpoint URL, or work on\n"
        "the corpus that needs no download: python -m platform.launch RECIPE.yaml --scale laptop"
    )


def _network_errors() -> tuple[type[BaseException], ...]:
    """What a failed transfer raises: the HTTP library under huggingface_hub has changed more than once."""
    from huggingface_hub import errors

    base = getattr(errors, "HTTPError", OSError)  # of that library
    return OSError, errors.HfHubHTTPError, base


def _endpoint(remote: Remote) -> str:
    from huggingface_hub import constants

    return remote.endpoint or constants.ENDPOINT


def _write_manifest(folder: Path, files: list[RemoteFile], remote: Remote) -> None:
    """Say where the files came from; the challenge's own tools do not mind a file more."""
    record = {
        "repo": remote.repo,
        "commit": remote.revision,
        "endpoint": _endpoint(remote),
        "bytes": {file.final.name: file.size for file in files},
    }
    part = folder / f"{MANIFEST_FILE}.part"
    part.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")
    part.replace(folder / MANIFEST_FILE)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
