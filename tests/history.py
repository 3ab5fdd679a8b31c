"""What launches would have left of themselves: ``launch.jsonl`` written by hand, at times that one can reckon with."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from jobs.contract.events import Event, append
from platform.runs.events import Ended, Failed, OverBudget, PhaseReached, Planned, Retried, Started, Stopped
from platform.runs.paths import RunPaths

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class History:
    """Writes events of one launch; each takes the seconds since noon at which it happened."""

    def __init__(self, run_path: Path, launch: str = "a") -> None:
        self.path, self._launch = RunPaths(run_path).events, launch

    def _write(self, kind: type[Event], at: float, seed: int, **values: object) -> None:
        time = (NOON + timedelta(seconds=at)).isoformat(timespec="milliseconds")
        append(self.path, kind(**{"time": time, "launch": self._launch, "seed": seed, **values}))

    def begun(
        self,
        seed: int,
        at: float,
        *,
        arms: tuple[str, ...] = ("no_ttt",),
        trains: bool = True,
        usd: float | None = 24,
        nodes: int = 1,
    ) -> None:
        """Planned at noon, started, and seen training."""
        self._write(Planned, 0, seed, arms=arms)
        self.again(seed, at, trains=trains, usd=usd, nodes=nodes)

    def again(self, seed: int, at: float, *, trains: bool = True, usd: float | None = 24, nodes: int = 1) -> None:
        self._write(Started, at, seed, usd_per_hour=usd, nodes=nodes)
        self.phase(seed, at + 1, "train" if trains else "setup")

    def phase(self, seed: int, at: float, phase: str, arm: str | None = None) -> None:
        self._write(PhaseReached, at, seed, arm=arm, phase=phase)

    def ended(self, seed: int, at: float) -> None:
        self._write(Ended, at, seed, val_bpb={"no_ttt": 1.25})

    def failed(self, seed: int, at: float) -> None:
        self._write(Failed, at, seed, phase="score", arm="no_ttt", reason="boom", arms=("no_ttt",))

    def retried(self, seed: int, at: float, arms: tuple[str, ...] = ("no_ttt",)) -> None:
        self._write(Retried, at, seed, phase="score", arm=arms[0], reason="lost", arms=arms, seconds=10.0)

    def stopped(self, seed: int, at: float) -> None:
        self._write(Stopped, at, seed)

    def over_budget(self, seed: int, at: float, reason: str) -> None:
        self._write(OverBudget, at, seed, reason=reason)
