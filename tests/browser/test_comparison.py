"""`python -m platform.dashboard` from start to Ctrl-C, and what a person sees who opens its link."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from platform.processes.supervisor import MARKER, marked
from platform.runs.paths import tracker_database
from platform.tracking import server, tracker
from platform.tracking.address import Address

ROOT = Path(__file__).parents[2]
SCORES = {"no_ttt": {1337: 2.3012, 42: 2.3052}, "adamw": {1337: 2.2012, 42: 2.2036}}
FLAGS = "--headless --no-sandbox --disable-gpu --disable-background-networking --disable-component-update "
FLAGS += "--disable-sync --no-first-run --window-size=1700,1000"


@dataclass
class Dashboard:
    process: "subprocess.Popen[str]"
    command: list[str]
    link: str
    folder: Any  # of the run


@pytest.fixture(scope="module")
def dashboard(
    make_run_in: Callable[..., Any], empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Dashboard]:
    """The command, started on a recorded run in a folder with a space; ended by Ctrl-C if a test has not done it."""
    runs = tmp_path_factory.mktemp("dashboard") / "my runs"
    folder = make_run_in(runs, SCORES)
    shutil.copy(empty_database, tracker_database(runs))
    port = server.free_port(15055)
    command = [sys.executable, "-m", "platform.dashboard", "--runs", str(runs), "--port", str(port)]
    environment = {key: value for key, value in os.environ.items() if key != "MLFLOW_TRACKING_URI"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    yield Dashboard(process, command, link, folder)
    process.send_signal(signal.SIGINT)
    process.wait(60)


def test_the_link_leads_to_a_server_on_loopback_with_our_runs(dashboard: Dashboard) -> None:
    address, page = dashboard.link.split("/#/")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", address) and "viewStateShareKey=" in page
    query = json.dumps({"experiment_ids": [page.split("/")[1]]}).encode()
    kind = {"Content-Type": "application/json"}
    with urlopen(Request(f"{address}/api/2.0/mlflow/runs/search", data=query, headers=kind)) as reply:
        runs = {run["info"]["run_name"]: run["info"]["run_id"] for run in json.load(reply)["runs"]}
    assert set(runs) >= {"leaky_cosine (laptop)", "leaky_cosine/adamw/1337", "leaky_cosine/no_ttt/42"}
    with urlopen(f"{address}/get-artifact?path=plan.json&run_uuid={runs['leaky_cosine (laptop)']}") as reply:
        assert json.load(reply)["recipe"] == "leaky_cosine"


def test_a_second_command_finds_the_first(dashboard: Dashboard) -> None:
    done = subprocess.run(dashboard.command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == f"Already served: {dashboard.link}"


def test_a_person_sees_the_arms_their_means_and_every_seed(dashboard: Dashboard, tmp_path: Path) -> None:
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not chromium or not driver:
        pytest.skip("no chromium and chromedriver here: apt-get install chromium chromium-driver")
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = chromium
    for flag in (*FLAGS.split(), f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=Service(driver))
    try:
        browser.get(dashboard.link)
        wanted = {
            *(f"leaky_cosine/{arm}/{seed}" for arm in SCORES for seed in (1337, 42)),
            *(f"Group: leaky_cosine/{arm} (laptop, data b2b2b2b2)" for arm in ("no_ttt", "adamw")),
            *("2.3012", "2.3052", "2.2012", "2.2036", "val_bpb", "artifact_bytes", "step_ms_mean"),
            *("2.3032", "2.2024"),  # the means of the arms
        }
        missing = wanted
        deadline = time.monotonic() + 600
        while missing and time.monotonic() < deadline:
            time.sleep(0.5)
            text = browser.find_element("tag name", "body").text
            missing = {one for one in wanted if one not in text}
        browser.save_screenshot(str(tmp_path / "comparison.png"))
        assert not missing, f"not to be seen: {missing}; screenshot: {tmp_path / 'comparison.png'}"
    finally:
        browser.quit()


def test_a_tracking_server_is_written_to_as_a_database_is(dashboard: Dashboard) -> None:
    address = dashboard.link.split("/#/")[0]
    first = tracker.record(dashboard.folder.path, Address(address))
    again = tracker.comparison([first])
    assert again == tracker.Comparison(command=None, link=dashboard.link)  # the runs that are there already
    dashboard.folder.result(42, "adamw", 2.25)
    second = tracker.record(dashboard.folder.path, Address(address))
    changed = dict(second.child_ids.items() - first.child_ids.items())
    assert list(changed) == ["leaky_cosine/adamw/42"]
    client = tracker._client(address)
    assert client.get_run(changed["leaky_cosine/adamw/42"]).data.metrics["val_bpb"] == 2.25
    assert client.get_run(second.parent_id).data.metrics["adamw/val_bpb_mean"] == pytest.approx((2.2012 + 2.25) / 2)


def test_ctrl_c_ends_it_and_leaves_no_process(dashboard: Dashboard) -> None:
    started = f"run/{dashboard.process.pid}."
    assert len(marked(MARKER, started)) >= 2  # the server and its worker
    dashboard.process.send_signal(signal.SIGINT)
    assert dashboard.process.wait(30) == 0
    deadline = time.monotonic() + 600
    while marked(MARKER, started) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not marked(MARKER, started)


def test_a_server_that_is_down_is_one_message(make_run_in: Callable[..., Any], tmp_path: Path) -> None:
    make_run_in(tmp_path, SCORES)
    down = f"http://127.0.0.1:{server.free_port(16055)}"
    environment = os.environ | {"MLFLOW_TRACKING_URI": down, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    command = [sys.executable, "-m", "platform.dashboard", "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and f"MLflow at {down} could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_runs_is_one_message(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "platform.dashboard", "--runs", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "no run there yet" in done.stderr and "Traceback" not in done.stderr
