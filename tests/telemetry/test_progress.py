"""What a running job shows: live progress by long poll, metrics, probes, and the log of every rank."""

from __future__ import annotations

import threading

import pytest

from speech_contract.findings import Verdict
from speech_contract.thresholds import Thresholds, ZeroLoss

pytestmark = pytest.mark.e2e


def test_a_healthy_run_shows_itself(launcher):
    run = launcher.start(launcher.config(), "steps.py", "100000", "0.02")
    shown = run.wait_for(
        lambda: (p := run.progress()) is not None and p.verdict is Verdict.HEALTHY and p, "health"
    )
    assert (shown.running, shown.source, shown.done) == (True, "Reporter", False)
    assert shown.loss is not None
    assert shown.version.startswith("1.")
    run.wait_for(lambda: run.get("/readyz")[0] == 200, "readiness")
    assert run.get("/healthz") == (200, "ok\n")
    run.wait_for(lambda: "speech_training_step " in run.get("/metrics")[1], "the step metric")
    assert run.outcome.exit_code is None
    run.process.terminate()
    assert run.wait() == 143


def test_a_long_poll_ends_with_the_verdict(launcher):
    health = Thresholds(zero_loss=ZeroLoss(for_steps=20))
    run = launcher.start(launcher.config(health=health), "seed_loop.py", "1000", "0.1")
    first = run.wait_for(lambda: (p := run.progress()) is not None and p.running and p, "a step")
    answers = []

    def poll():
        version = first.version
        while not answers or answers[-1].verdict is not Verdict.CRITICAL:
            newer = run.progress(f"?since={version}&wait=20")
            if newer is None:
                return
            answers.append(newer)
            version = newer.version

    reader = threading.Thread(target=poll)
    reader.start()
    assert run.wait() == 41
    reader.join(60)
    assert any(answer.verdict is Verdict.CRITICAL for answer in answers)
    assert len({answer.version for answer in answers}) == len(answers)


def test_metrics_stay_for_two_more_scrapes_after_a_clean_end(launcher):
    run = launcher.start(launcher.config(), "steps.py", "40", "0.05")
    run.wait_for(lambda: run.get("/metrics")[0] == 200, "the first scrape")
    run.wait_for(lambda: (p := run.progress()) is not None and p.done, "the end")
    assert run.process.poll() is None
    assert "speech_training_steps_total" in run.get("/metrics")[1]
    assert run.process.poll() is None
    run.wait_for(
        lambda: run.get("/metrics")[0] in (0, 200) and run.process.poll() is not None, "it"
    )
    assert run.wait() == 0
