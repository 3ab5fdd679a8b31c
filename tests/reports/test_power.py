"""What a gain needs and what it costs: known answers, the command, and a run as the source of its figures."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from platform import power
from tests.records.written import narrow_readme, record, without_ttt

ROOT = Path(__file__).parents[2]
MakeRun = Callable[..., Any]


def asked(*options: object) -> dict[str, Any]:
    done = CliRunner().invoke(power.main, [*map(str, options), "--json"])
    assert done.exit_code == 0, done.output
    return json.loads(done.output)


def test_seeds_hours_and_money_of_a_gain() -> None:
    found = asked("--sigma", 0.00068, "--margin-nats", 0, "--gain", 0.0018, "--minutes-per-seed", 30)
    needed = {one["test"]: one for one in found["needed"]}
    welch = needed["Welch t"]
    assert (welch["seeds"], welch["seeds_to_run"], welch["hours"], welch["usd"]) == (5, 10, 5.0, 5.0 * 8 * 2.5)
    assert needed["one-sample t"]["seeds_to_run"] == needed["one-sample t"]["seeds"]
    # (z(0.99) + z(0.8))² · 2 · sigma² / gain² = 10.04 · 2 · 0.1427 = 2.87
    assert needed["known-sigma z"]["seeds"] == 3
    assert found["question"]["usd_per_gpu_hour"]["source"].startswith("assumed")
    assert found["question"]["minutes_per_seed"] == {"value": 30.0, "source": "given"}
    against = asked("--sigma", 0.00068, "--margin-nats", 0, "--gain", 0.0018, "--against-seeds", 10)
    assert against["needed"][0]["seeds"] < 5 and against["needed"][0]["seeds_to_run"] == against["needed"][0]["seeds"]


def test_the_margin_is_nats_per_token() -> None:
    """0.005 nats are 2.96 mBPB with SP1024, 1.94 with SP8192; the excess over it is what the seeds have to show."""
    plain, large = asked("--margin-nats", 0), asked("--nats-per-bpb", 2.583104)
    usual = asked()
    assert usual["question"]["margin"] == pytest.approx(0.00296129, abs=5e-9)
    assert large["question"]["margin"] == pytest.approx(0.00193566, abs=5e-9)
    for with_margin, without in zip(usual["detectable"], plain["detectable"], strict=True):
        for test, gain in with_margin["gains"].items():
            assert gain == pytest.approx(without["gains"][test] + usual["question"]["margin"])
    assert [one["seeds"] for one in usual["detectable"]] == list(range(3, 11))
    assert usual["detectable"][0]["gains"]["Welch t"] == pytest.approx(0.0034 + 0.00296, abs=1e-4)
    assert usual["needed"] == [] and usual["stop_when_hopeless"] is None
    within = asked("--gain", 0.002)
    assert all(one["seeds"] is None and one["usd"] is None for one in within["needed"])


def test_giving_up_is_simulated_at_no_gain_the_margin_and_the_hope() -> None:
    found = asked("--sigma", 0.0007, "--gain", 0.0075, "--stop-when-hopeless")["stop_when_hopeless"]
    assert found["planned"] == 3
    nothing, margin, hope = found["outcomes"]
    assert nothing["excess"] == pytest.approx(-0.00296129, abs=1e-8) and margin["excess"] == 0.0
    assert nothing["seeds_saved"] == pytest.approx(2 / 3, abs=0.01) and nothing["pass_rate"] == 0.0
    assert margin["pass_rate"] < 0.015 and margin["seeds_saved"] > 0.4
    assert hope["pass_rate"] > hope["pass_rate_without"] - 0.02 and hope["pass_rate"] > 0.75


def test_a_run_gives_its_own_figures(make_run: MakeRun) -> None:
    scores = {"no_ttt": {1: 2.300, 2: 2.302, 3: 2.304}, "adamw": {1: 2.200, 2: 2.203, 3: 2.204}}
    folder = make_run(scores)
    question = asked("--from", folder.path, "--gain", 0.01)["question"]
    assert question["sigma"]["value"] == pytest.approx(0.002) and "3 seeds of arm no_ttt" in question["sigma"]["source"]
    gains = (0.1, 0.099, 0.1)
    mean = sum(gains) / 3
    std = math.sqrt(sum((one - mean) ** 2 for one in gains) / 2)
    assert question["paired_sigma"]["value"] == pytest.approx(std)
    assert question["nats_per_bpb"]["value"] == pytest.approx(math.log(2) * 2.5)
    assert question["minutes_per_seed"]["value"] == pytest.approx((1.5 + 50.5 + 3.25 + 10.5 + 20.25) / 60)
    assert question["gpus"] == 0  # it ran on a CPU: nothing to pay for
    other = asked("--from", folder.path, "--arm", "adamw")["question"]
    assert other["sigma"]["value"] == pytest.approx(0.0020816659994661)


def test_the_interval_of_a_sigma_from_three_seeds(make_run: MakeRun) -> None:
    """Chi square with 2 degrees of freedom has -2 ln(tail) as its quantile: 7.378 and 0.0506."""
    from platform.runs.results import read_run
    from platform.runs.spread import sigma_of

    run = read_run(make_run({"no_ttt": {1: 2.300, 2: 2.302, 3: 2.304}}).path)
    sigma, interval = sigma_of(run, "no_ttt")
    assert sigma.value == pytest.approx(0.002)
    assert interval.low == pytest.approx(0.002 * math.sqrt(2 / (-2 * math.log(0.025))))
    assert interval.high == pytest.approx(0.002 * math.sqrt(2 / (-2 * math.log(0.975))))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sigma", "0"], "sigma"),
        (["--sigma", "nan"], "nan is no number"),
        (["--gain", "inf"], "inf is no number"),
        (["--arm", "adamw"], "needs --from"),
        (["--from", "nowhere"], "nowhere: no list of scores, no CSV, no record folder, no run"),
        (["--from", "RUN", "--arm", "adam"], "the arms are no_ttt"),
        (["--from", "RUN"], "two different ones"),
    ],
)
def test_what_is_wrong_is_said_with_exit_2(make_run: MakeRun, options: list[str], said: str) -> None:
    path = make_run({"no_ttt": {1: 2.3}}).path
    command = [sys.executable, "-m", "platform.power", *(str(path) if one == "RUN" else one for one in options)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr


def test_tables(make_run: MakeRun) -> None:
    done = CliRunner().invoke(power.main, ["--sigma", "0.0007", "--gain", "0.004", "--stop-when-hopeless"])
    assert done.exit_code == 0, done.output
    assert "Welch t        two groups of seeds, each with its own spread     11        22    9.2  183" in done.output
    assert "assumed: on-demand list prices" in done.output
    within = CliRunner().invoke(power.main, ["--gain", "0.001"])
    assert "no number of seeds shows it" in within.output


def run_power(*options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "platform.power", *map(str, options)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_scores_as_a_list_a_table_or_a_record(tmp_path: Path) -> None:
    theirs = record(tmp_path / "theirs", without_ttt(), README__md=narrow_readme(without_ttt()))
    table = tmp_path / "ours.tsv"
    table.write_text("commit\tval_bpb\tstatus\na1\t1.1105\tkeep\nb2\t1.1109\tkeep\nc3\t0.0\tcrash\nd4\t1.1101\tkeep\n")
    for given in (("--scores", "1.1105, 1.1109, 1.1101"), ("--scores", table), ("--from", table)):
        done = run_power(*given, "--against", theirs)
        assert done.returncode == 0, done.stderr
        assert (
            "shown by Welch t: gain 0.011335 BPB" in done.stdout and "0.000400 BPB (sample std of the 3" in done.stdout
        )
    told = run_power("--from", theirs, "--gain", "0.004").stdout
    assert "of the 3 scores of theirs" in told and "3 seeds can show a gain of " in told
    assert "at 1.688454 nats per BPB (the 3 scores of theirs)" in told
    both = json.loads(run_power("--scores", "1.11,1.12", "--against", "1.13 1.12", "--json").stdout)
    assert [test["test"] for test in both["shown"]] == ["Welch t", "one-sample t"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scores", "1.1", "--gain", "0.004"), "two different scores at least"),
        (("--scores", "1.1,x"), "no list of scores, no CSV"),
        (("--against", "1.1,1.2"), "--against needs scores of this side"),
        (("--scores", "1.1,1.2", "--from", "x"), "give one"),
    ],
)
def test_what_is_wrong_with_scores_is_said(options: tuple[str, ...], said: str) -> None:
    done = run_power(*options)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
