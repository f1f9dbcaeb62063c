"""The example configuration of Alertmanager: one cause pages once, shown on a real Alertmanager."""

from __future__ import annotations

import json
import re
import socket
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

CONFIG = ROOT / "docs" / "alertmanager.yaml"
NON_FINITE, ZERO_LOSS = "SpeechTrainingNonFinite", "SpeechTrainingZeroLoss"
FAILED, STALLED = "SpeechTrainingJobFailed", "SpeechTrainingStalled"
MISSING = "SpeechTrainingTelemetryMissing"


def matchers(rule: dict[str, Any], side: str) -> re.Pattern[str]:
    (matcher,) = rule[f"{side}_matchers"]
    pattern = re.fullmatch(r'alertname =~? "(.+)"', matcher)
    assert pattern is not None
    return re.compile(pattern[1])


def inhibited(names: set[str]) -> set[str]:
    """Which of these alerts of one job the configuration mutes."""
    muted = set()
    for rule in yaml.safe_load(CONFIG.read_text("utf-8"))["inhibit_rules"]:
        assert rule["equal"] == ["namespace", "job_name"]
        source, target = matchers(rule, "source"), matchers(rule, "target")
        if any(source.fullmatch(name) for name in names):
            muted |= {name for name in names if target.fullmatch(name)}
    return muted


def test_names_are_those_of_the_rules_and_none_mutes_itself(rules: dict[str, Any]) -> None:
    known = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    mentioned = set()
    for rule in yaml.safe_load(CONFIG.read_text("utf-8"))["inhibit_rules"]:
        sides = [{n for n in known if matchers(rule, s).fullmatch(n)} for s in ("source", "target")]
        assert all(sides)
        assert not sides[0] & sides[1]
        mentioned |= sides[0] | sides[1]
    assert mentioned == known - {"SpeechOperatorDown"}


@pytest.mark.parametrize("mask", range(1, 32))
def test_of_any_alerts_together_one_is_left(mask: int) -> None:
    """Two rules that mute each other would leave none: nobody would be told."""
    names = [NON_FINITE, ZERO_LOSS, FAILED, STALLED, MISSING]
    firing = {name for bit, name in enumerate(names) if mask >> bit & 1}
    left = firing - inhibited(firing)
    assert left
    assert len(left) == 1 or left == {STALLED, MISSING}


class Alertmanager:
    """A real one with the example configuration, on a free port."""

    def __init__(self, url: str) -> None:
        self.url = url

    def send(self, *alerts: tuple[str, str]) -> None:
        now = datetime.now(UTC)
        body = [
            {
                "labels": {"alertname": name, "namespace": "speech", "job_name": job},
                "startsAt": now.isoformat(),
                "endsAt": (now + timedelta(minutes=5)).isoformat(),
            }
            for name, job in alerts
        ]
        self._call("/api/v2/alerts", json.dumps(body).encode())

    def muted(self) -> dict[tuple[str, str], bool]:
        found = json.loads(self._call("/api/v2/alerts"))
        return {
            (alert["labels"]["alertname"], alert["labels"]["job_name"]): bool(
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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
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
    alertmanager.send((FAILED, "c"), (MISSING, "c"), (STALLED, "d"))
    expected = {
        (NON_FINITE, "a"): False, (ZERO_LOSS, "a"): True, (FAILED, "a"): True,
        (ZERO_LOSS, "b"): False, (FAILED, "b"): True, (FAILED, "c"): False,
        (MISSING, "c"): True, (STALLED, "d"): False,
    }  # fmt: skip
    until("the mutes are set", lambda: alertmanager.muted() == expected)
