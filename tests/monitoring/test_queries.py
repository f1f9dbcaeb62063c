"""Every query of every dashboard and every alert, run by a real Prometheus on what our exporters tell."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import scraped_jobs
from hour import Ask, Object, filled, served
from product.chart import CHART

BOARDS = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((CHART / "files" / "dashboards").glob("*.json"))
}
FIRING = {
    "SpeechTrainingNonFinite", "SpeechTrainingDataStarved", "SpeechTrainingNeverStarts",
    "SpeechTrainingRestartLoop", "SpeechTrainingJobFailed", "SpeechOperatorReconcileErrors",
    "SpeechTrainingTelemetryMissing",  # one runs, as the operator says, and no pod of it is scraped
}  # fmt: skip


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Ask Prometheus over the hour that the exporters told of."""
    with served(tmp_path_factory.mktemp("prometheus")) as asking:
        yield asking


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
