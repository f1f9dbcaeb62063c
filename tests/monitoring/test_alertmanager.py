"""The example configuration of Alertmanager: one cause pages once, shown on a real Alertmanager."""

from __future__ import annotations

import graphlib
import itertools
import json
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from bed import system
from bed.requirement import require
from bed.system import Tier
from product.chart import ROOT

from speech_operator.cluster.local import free_ports

CONFIG = ROOT / "docs" / "alertmanager.yaml"
NON_FINITE, ZERO_LOSS = "SpeechTrainingNonFinite", "SpeechTrainingZeroLoss"
FAILED, STALLED = "SpeechTrainingJobFailed", "SpeechTrainingStalled"
MISSING = "SpeechTrainingTelemetryMissing"
Labels = dict[str, str]
Rule = dict[str, Any]


def matches(labels: Labels, matchers: list[str]) -> bool:
    """Whether an alert has what these matchers ask for, in the two forms that we use."""
    for matcher in matchers:
        found = re.fullmatch(r'(\w+) =~? "(.+)"', matcher)
        assert found is not None, matcher
        if not re.fullmatch(found[2], labels.get(found[1], "")):
            return False
    return True


def mutes(rule: Rule, source: Labels, target: Labels) -> bool:
    same = all(source.get(name, "") == target.get(name, "") for name in rule["equal"])
    return same and matches(source, rule["source_matchers"]) and matches(target, rule["target_matchers"])  # fmt: skip


@pytest.fixture(scope="module")
def inhibitions() -> list[Rule]:
    found: list[Rule] = yaml.safe_load(CONFIG.read_text("utf-8"))["inhibit_rules"]
    return found


@pytest.fixture(scope="module")
def possible(rules: dict[str, Any]) -> list[Labels]:
    """Every alert that one job can have, in each severity."""
    names = [rule["alert"] for group in rules["groups"] for rule in group["rules"]]
    return [
        {"alertname": name, "severity": severity, "namespace": "speech", "job_name": "a"}
        for name in names
        for severity in ("warning", "critical")
    ]


def test_each_inhibition_names_alerts_that_there_are(
    inhibitions: list[Rule], possible: list[Labels]
) -> None:
    known = {labels["alertname"] for labels in possible}
    for rule in inhibitions:
        sides = (rule["source_matchers"], rule["target_matchers"])
        assert all(any(matches(labels, side) for labels in possible) for side in sides), rule
        named = [m.split('"')[1] for side in sides for m in side if m.startswith("alertname")]
        for pattern in named:
            words = re.sub(r".*\((.*)\)", r"\1", pattern).split("|")
            assert {
                f"SpeechTraining{word.removeprefix('SpeechTraining')}" for word in words
            } <= known


def test_every_alert_of_a_job_takes_part(inhibitions: list[Rule], possible: list[Labels]) -> None:
    """Whoever adds an alert has to say what it follows from, or what follows from it."""
    by_name = [rule for rule in inhibitions if "alertname" in "".join(rule["source_matchers"])]
    for labels in possible:
        sides = [r[s] for r in by_name for s in ("source_matchers", "target_matchers")]
        took = any(matches({**labels, "severity": "critical"}, side) for side in sides)
        assert took != labels["alertname"].startswith("SpeechOperator"), labels


def test_of_any_alerts_together_one_is_left(
    inhibitions: list[Rule], possible: list[Labels]
) -> None:
    """Two that mute each other, in however many steps, would leave none: nobody would be told."""
    muted_by = {
        number: {
            other
            for other, source in enumerate(possible)
            if any(mutes(rule, source, target) for rule in inhibitions)
        }
        for number, target in enumerate(possible)
    }
    # Raises where there is a ring.
    order = list(graphlib.TopologicalSorter(muted_by).static_order())
    assert len(order) == len(possible)


def test_no_warning_mutes_what_is_critical(inhibitions: list[Rule], possible: list[Labels]) -> None:
    warnings = [labels for labels in possible if labels["severity"] == "warning"]
    paging = [labels for labels in possible if labels["severity"] == "critical"]
    by_status = {"SpeechTrainingJobFailed"}  # always critical
    for source, target in itertools.product(warnings, paging):
        muted = any(mutes(rule, source, target) for rule in inhibitions)
        assert not muted or source["alertname"] in by_status, (source, target)


class Alertmanager:
    """A real one with the example configuration, on a free port."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, *alerts: tuple[str, str], severity: str = "critical") -> None:
        now = datetime.now(UTC)
        body = [
            {
                "labels": {
                    "alertname": name,
                    "severity": severity,
                    "namespace": "speech",
                    "job_name": job,
                },
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(minutes=5)).isoformat(),
            }
            for name, job in alerts
        ]
        self._call("/api/v2/alerts", json.dumps(body).encode())

    def muted(self) -> dict[tuple[str, str, str], bool]:
        """Whether each is, by name, job and severity."""
        found = json.loads(self._call("/api/v2/alerts"))
        return {
            tuple(alert["labels"][name] for name in ("alertname", "job_name", "severity")): bool(
                alert["status"]["inhibitedBy"]
            )
            for alert in found
        }

    def ready(self) -> bool:
        try:
            self._call("/-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def _call(self, path: str, body: bytes | None = None) -> bytes:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self.url + path, data=body, headers=headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            content: bytes = answer.read()
        return content


def until(what: str, true: Any, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.05)


@pytest.fixture
def alertmanager(tmp_path: Path) -> Iterator[Alertmanager]:
    require(Tier.ALERTS)
    address = f"127.0.0.1:{free_ports(1)[0]}"
    command = [
        system.program("prometheus-alertmanager"), f"--config.file={CONFIG}",
        f"--storage.path={tmp_path}", f"--web.listen-address={address}",
        "--cluster.listen-address=",
    ]  # fmt: skip
    with (tmp_path / "log").open("w") as log, subprocess.Popen(command, stderr=log) as process:
        try:
            server = Alertmanager(f"http://{address}")
            until("Alertmanager answers", server.ready)
            yield server
        finally:
            process.terminate()


def test_a_real_alertmanager_mutes_what_follows(alertmanager: Alertmanager) -> None:
    alertmanager.send(
        (NON_FINITE, "a"), (ZERO_LOSS, "a"), (FAILED, "a"), (ZERO_LOSS, "b"), (FAILED, "b")
    )
    alertmanager.send((FAILED, "c"), (STALLED, "d"), (FAILED, "e"))
    alertmanager.send((MISSING, "c"), (NON_FINITE, "e"), (STALLED, "f"), severity="warning")
    alertmanager.send((STALLED, "f"))
    expected = {
        (NON_FINITE, "a"): False, (ZERO_LOSS, "a"): True, (FAILED, "a"): True,
        (ZERO_LOSS, "b"): False, (FAILED, "b"): True, (FAILED, "c"): False,
        (MISSING, "c"): True, (STALLED, "d"): False, (FAILED, "e"): False, (NON_FINITE, "e"): False,
    }  # what healed by itself does not hide why the job failed  # fmt: skip
    worse = {(STALLED, "f", "critical"): False, (STALLED, "f", "warning"): True}

    def as_expected() -> bool:
        found = alertmanager.muted()
        one = {key[:2]: muted for key, muted in found.items() if key not in worse}
        return worse.items() <= found.items() and one == expected

    until("the mutes are set", as_expected)
