"""Every query of every dashboard and every alert, run by a real Prometheus on what our exporters tell."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import scraped_jobs
from bed import binaries, families
from bed.cluster import log_to_stderr
from bed.layout import cache_dir
from product.chart import CHART

Object = dict[str, Any]
Ask = Callable[..., list[Object]]
BOARDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((CHART / "files" / "dashboards").glob("*.json"))
}
FIRING = {
    "SpeechTrainingNonFinite", "SpeechTrainingDataStarved", "SpeechTrainingNeverStarts",
    "SpeechTrainingRestartLoop", "SpeechTrainingJobFailed", "SpeechOperatorReconcileErrors",
    "SpeechTrainingTelemetryMissing",  # one runs, as the operator says, and no pod of it is scraped
}  # fmt: skip


def _address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Ask Prometheus over the hour that the exporters told of."""
    folder = tmp_path_factory.mktemp("prometheus")
    programs = binaries.ensure(families.PROMETHEUS, cache_dir(), log_to_stderr)
    (folder / "scraped.txt").write_text(scraped_jobs.text(), "utf-8")
    (folder / "config.yaml").write_text("{}")
    made = [programs["promtool"], "tsdb", "create-blocks-from", "openmetrics"]
    done = subprocess.run(
        [*made, folder / "scraped.txt", folder / "data"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    address = _address()
    command = [
        programs["prometheus"], f"--config.file={folder / 'config.yaml'}", f"--web.listen-address={address}",
        f"--storage.tsdb.path={folder / 'data'}", "--storage.tsdb.retention.time=100y",
    ]  # fmt: skip
    with (folder / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            _wait_until_ready(f"http://{address}/-/ready", folder / "log")
            yield lambda query, **over: _ask(f"http://{address}", query, **over)
        finally:
            process.terminate()


def _wait_until_ready(url: str, log: Path) -> None:
    deadline = time.monotonic() + 120.0
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except (urllib.error.URLError, ConnectionError):
            assert time.monotonic() < deadline, log.read_text("utf-8")
            time.sleep(0.05)
        else:
            return


def _ask(server: str, query: str, *, instant: bool = False) -> list[Object]:
    """The result over the whole hour, or at its end."""
    times = {"time": scraped_jobs.END} if instant else {
        "start": scraped_jobs.START, "end": scraped_jobs.END, "step": 60,
    }  # fmt: skip
    asked = urllib.parse.urlencode({"query": query, **times})
    path = "query" if instant else "query_range"
    with urllib.request.urlopen(f"{server}/api/v1/{path}?{asked}", timeout=30) as answer:
        result: list[Object] = json.loads(answer.read())["data"]["result"]
    return result


def filled(query: str, job: str) -> str:
    """A query as Grafana sends it."""
    values = {"$__rate_interval": "4m", "$namespace": "speech", "$team": scraped_jobs.TEAM}
    values["$job_name"] = job
    for name, value in values.items():
        query = query.replace(name, value)
    return query


def targets(board: Object) -> Iterator[tuple[str, Object]]:
    for panel in board["panels"]:
        yield from ((panel["title"], target) for target in panel["targets"])


@pytest.mark.parametrize("name", BOARDS)
def test_every_query_of_a_dashboard_has_data(ask: Ask, name: str) -> None:
    """Of some job: none is a codec and failed as well."""
    assert ask("speech_training_invented") == []
    empty = []
    for title, target in targets(BOARDS[name]):
        instant = target.get("instant", False)
        asked = dict.fromkeys(filled(target["expr"], job) for job in scraped_jobs.JOBS)
        if not any(ask(query, instant=instant) for query in asked):
            empty.append((title, target["expr"]))
    assert empty == []


def test_a_legend_names_labels_that_the_series_have(ask: Ask) -> None:
    for board in BOARDS.values():
        for title, target in targets(board):
            labels = {word.split("}}")[0] for word in target["legendFormat"].split("{{")[1:]}
            for query in dict.fromkeys(filled(target["expr"], job) for job in scraped_jobs.JOBS):
                for found in ask(query, instant=target.get("instant", False)):
                    assert labels <= found["metric"].keys(), title


def test_every_alert_can_be_asked_and_says_1(ask: Ask, rules: Object) -> None:
    """So that no reader need compare a NaN, in Grafana as little as here."""
    firing = set()
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        for found in ask(rule["expr"]):
            assert {value for _, value in found["values"]} == {"1"}, rule["alert"]
            assert found["metric"].get("team", scraped_jobs.TEAM) == scraped_jobs.TEAM
            firing.add(rule["alert"])
    assert firing == FIRING
