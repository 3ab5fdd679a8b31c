"""How fast this node is: measured once per launch, before its first trial here, and known for an hour of one boot.

``jobs/probe.py`` has all free cards at once, or the CPU, to itself as far as this user's launches go. Whatever goes
wrong is a probe that failed, with the reason: no trial fails for it.
"""

import json
import os
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

from jobs.contract.files import to_data, write_text

from ..errors import RunFailed, UserError
from ..locks import held
from ..paths import ROOT, cache
from ..processes import guarded
from ..processes.environment import kept
from ..program.inline import inline
from ..runs.node import Probe
from ..runs.reading import from_data
from .cluster import cores

ENTRY = 'from jobs.probe import print_speed\n\nif __name__ == "__main__":\n    print_speed()\n'
PROBE_SECONDS = 60.0  # eight cards need some 10; to read torch from a cold disk may take as long again
KNOWN_FOR = timedelta(hours=1)


def probe_program() -> str:
    """The text that is run on each node. Made in the driver: a worker has no checkout to make it from.

    A run goes on whatever has become of jobs/; where no program can be made of it, this is one that says so.
    """
    try:
        return inline(ENTRY, ROOT)
    except (UserError, OSError) as error:
        return f"import sys\n\nsys.exit({str(error)!r})\n"


@dataclass(frozen=True, kw_only=True)
class Probing:
    """How a launch probes a node."""

    launch: str  # its name
    program: str
    with_cards: bool  # all that are visible and free; otherwise the CPU
    visible: str | None = None  # the node's cards, as CUDA_VISIBLE_DEVICES has them; None: all

    def probe(self) -> Probe:
        """How fast this machine is, measured now, in this launch or within this hour; or why nobody knows."""
        begun = time.monotonic()

        def patient(owner: str) -> None:
            if time.monotonic() - begun > 2 * PROBE_SECONDS:
                raise RunFailed(f"another probe comes to no end: {owner}")

        try:
            with held(Path(tempfile.gettempdir()) / f"fairway-probe-{os.getuid()}.lock", patient):
                known = _kept().get(self._key)
                if known is None or not self._holds(known):
                    known = self._measured()
                    _keep(self._key, known)
                return known
        except (RunFailed, UserError, OSError) as error:
            return self._failed(begun, str(error))

    @property
    def _key(self) -> str:
        """Of this boot of this machine, and of these devices: after another boot its clocks may be others."""
        try:
            boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        except OSError:
            boot = "unknown boot"
        devices = f"cuda {self.visible or 'all'}" if self.with_cards else "cpu"
        return f"{boot} {socket.gethostname()} {devices} torch {version('torch')}"

    def _holds(self, known: Probe) -> bool:
        age = datetime.now(UTC) - datetime.fromisoformat(known.time)
        return known.launch == self.launch or (timedelta(0) <= age < KNOWN_FOR and not known.failed)

    def _measured(self) -> Probe:
        begun = time.monotonic()
        environment = {**kept(os.environ), "OMP_NUM_THREADS": str(int(cores())), "PYTHONSAFEPATH": "1"}
        environment.pop("CUDA_VISIBLE_DEVICES", None)
        if self.visible is not None or not self.with_cards:
            environment["CUDA_VISIBLE_DEVICES"] = (self.visible or "") if self.with_cards else ""
        try:
            ended = guarded.run(
                [sys.executable, "probe.py"],
                environment=environment,
                seconds=PROBE_SECONDS,
                files={"probe.py": self.program},
            )
            if ended.timed_out:
                return self._failed(begun, f"it came to no end within {PROBE_SECONDS:g} s")
            if ended.status != 0:
                said = ended.stderr.strip().splitlines() or [f"exit status {ended.status}"]
                return self._failed(begun, said[-1])
            figures = json.loads(ended.stdout.splitlines()[-1])
            about = {"time": _now(), "launch": self.launch, "seconds": time.monotonic() - begun}
            return from_data(Probe, {**about, **figures})
        except (RunFailed, OSError, ValueError, LookupError, TypeError) as error:
            return self._failed(begun, f"{type(error).__name__}: {error}")

    def _failed(self, begun: float, why: str) -> Probe:
        return Probe(time=_now(), launch=self.launch, seconds=time.monotonic() - begun, failed=" ".join(why.split()))


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _place() -> Path:
    """Where probes are kept: this user's cache, on a cluster often one for all nodes; TMPDIR where there is none."""
    try:
        folder = cache()
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder / "probe.json"
    except (OSError, RuntimeError):
        pass
    return Path(tempfile.gettempdir()) / f"fairway-probe-{os.getuid()}.json"


def _kept() -> dict[str, Probe]:
    """Every probe that is kept; none where the file is not there, or not of this version."""
    try:
        found = json.loads(_place().read_text(encoding="utf-8"))
        return {key: from_data(Probe, probe) for key, probe in found.items()}
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}


def _keep(key: str, probe: Probe) -> None:
    """Keep it, with those of the last day. Of two nodes that do so at once one may be lost, and is measured again."""
    a_day_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat(timespec="seconds")
    probes = {name: one for name, one in _kept().items() if one.time > a_day_ago} | {key: probe}
    write_text(_place(), json.dumps({name: to_data(one) for name, one in probes.items()}))
