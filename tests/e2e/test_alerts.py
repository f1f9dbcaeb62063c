"""Three jobs side by side, watched by real Prometheus and Alertmanager: only the two that learn nothing page."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import pytest
from bed.api import wait_for
from bed.cluster import Bed
from bed.requirement import require
from bed.system import Tier
from product import jobs
from product.alerting import Prometheus, Receiver, alerting
from product.chart import ROOT
from product.installed import Namespace, rules_of

from speech_contract import outcome
from speech_contract.progress import Rule
from speech_contract.reasons import State

NON_FINITE, ZERO_LOSS = "SpeechTrainingNonFinite", "SpeechTrainingZeroLoss"
# May come along: the job is Failed by then, and another rule may have warned before.
BESIDE = {"SpeechTrainingJobFailed", "SpeechTrainingFinding", "SpeechTrainingNotLearning"}
SEED_LOOP = (ROOT / "tests" / "telemetry" / "scripts" / "seed_loop.py").read_text("utf-8")
HEALTHY, DIVERGING, SILENT = "healthy", "diverging", "silent"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def watched(
    bed: Bed, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Prometheus, Receiver]]:
    require(Tier.ALERTS)
    with alerting(bed, tmp_path_factory.mktemp("alerting")) as servers:
        yield servers


def diverging() -> jobs.Object:
    job = jobs.vits(DIVERGING, steps=60, nodes=1)
    job["spec"]["recipe"]["vits"]["learningRate"] = "1e4"
    return job


def silent() -> jobs.Object:
    """Sixty epochs of a second: long enough to be scraped, and to be stopped by the rule."""
    job = jobs.script(SILENT, SEED_LOOP)
    job["spec"]["trainer"]["args"] = ["60", "1"]
    return job


def test_only_the_jobs_that_learn_nothing_page(
    watched: tuple[Prometheus, Receiver], speech: Namespace
) -> None:
    prometheus, receiver = watched
    for job in (jobs.vits(HEALTHY, steps=60, nodes=1), diverging(), silent()):
        speech.apply(job)
    ended = {
        DIVERGING: (Rule.NON_FINITE, outcome.EXIT_NON_FINITE, NON_FINITE),
        SILENT: (Rule.ZERO_LOSS, outcome.EXIT_NOT_LEARNING, ZERO_LOSS),
    }
    for name, (rule, code, alert) in ended.items():
        status = speech.until_state(name, State.FAILED)
        assert rule.value in rules_of(status), speech.words(name)
        assert status["failure"]["exitCode"] == code, speech.words(name)
        wait_for(f"{alert} of {name}", partial(receiver.first, name, alert), 120.0)
    scraped = f'speech_training_step{{job_name="{HEALTHY}"}} > 0'
    wait_for("a scrape of the healthy job", lambda: prometheus.query(scraped), 120.0)
    assert speech.until_state(HEALTHY, State.COMPLETE)["health"]["verdict"] == "Healthy"
    told = 'speech_operator_job_state{job_name="healthy",state="Complete"} == 1'
    wait_for("a scrape that knows it is complete", lambda: prometheus.query(told), 60.0)
    assert prometheus.query('ALERTS{alertstate="firing",job_name="healthy"}') == []
    assert receiver.names(DIVERGING) - BESIDE == {NON_FINITE}
    assert receiver.names(SILENT) - BESIDE == {ZERO_LOSS}
    others = {alert for alert in receiver.alerts if alert.job not in ended}
    assert not others
