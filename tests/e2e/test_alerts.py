"""Jobs side by side, watched by real Prometheus and Alertmanager: each that learns nothing pages by its own name.

The one that learns is a codec, whose codebooks the dashboard shows.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest
from bed.api import wait_for
from bed.cluster import Bed
from bed.requirement import require
from bed.system import Tier
from product import jobs
from product.alerting import Prometheus, Receiver, alerting
from product.chart import CHART, ROOT
from product.installed import Namespace, rules_of

from speech_contract import outcome
from speech_contract.progress import Rule
from speech_contract.reasons import State
from speech_contract.recipes import CodecPreset
from speech_trainer.recipes.codec.presets import PRESETS

NON_FINITE, ZERO_LOSS = "SpeechTrainingNonFinite", "SpeechTrainingZeroLoss"
# May come along: the job is Failed by then, and another rule may have warned before.
BESIDE = {"SpeechTrainingJobFailed", "SpeechTrainingFinding", "SpeechTrainingNotLearning"}
SEED_LOOP = (ROOT / "tests" / "telemetry" / "scripts" / "seed_loop.py").read_text("utf-8")
FAULTY_LOOP = (ROOT / "tests" / "e2e" / "scripts" / "faulty_loop.py").read_text("utf-8")
# What each faulty loop is watched by, and what must be told of it. A rule is said to warn, so that the loop runs on
# until it was scraped.
FAULTS: dict[str, tuple[jobs.Object, set[str]]] = {
    "crashes": (
        {"runPolicy": {"restarts": {"max": 3, "sameCause": 9}}},
        {"SpeechTrainingRestartLoop", "SpeechTrainingJobFailed"},
    ),
    "skips": ({}, {"SpeechTrainingSkippedSamples"}),
    "spikes": ({"health": {"lossSpike": {"onExceeded": "Warn"}}}, {"SpeechTrainingLossSpike"}),
    "hangs": (
        {"health": {"stall": {"floorSeconds": 5, "onExceeded": "Warn"}}},
        {"SpeechTrainingStalled"},
    ),
    "drifts": ({"health": {"expect": {"vq": {"max": "2.0"}}}}, {"SpeechTrainingFinding"}),
}
DIVERGING, SILENT = "diverging", "silent"
LEVELS = PRESETS[CodecPreset.DEBUG].quantizer.levels

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


def faulty(fault: str) -> jobs.Object:
    made = jobs.script(fault, FAULTY_LOOP, **FAULTS[fault][0])
    made["spec"]["trainer"]["args"] = [fault]
    return made


def shown(panel: str, job: str) -> str:
    """What a panel of the dashboard of jobs asks, at any time so far: a finished pod's series are over."""
    board = json.loads((CHART / "files" / "dashboards" / "job.json").read_text("utf-8"))
    (target,) = next(p["targets"] for p in board["panels"] if p["title"] == panel)
    asked: str = target["expr"]
    asked = asked.replace("$namespace", "speech").replace("$job_name", job)
    return f"max_over_time(({asked})[30m:2s])"


def in_use(series: jobs.Object) -> bool:
    """More than one code: its book has started."""
    return float(series["value"][1]) > 1.0


def test_only_the_jobs_that_learn_nothing_page(
    watched: tuple[Prometheus, Receiver], speech: Namespace, codec: jobs.Object
) -> None:
    prometheus, receiver = watched
    healthy = codec["metadata"]["name"]
    for job in (codec, diverging(), silent()):
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
    books = partial(prometheus.query, shown("Codebooks", healthy))
    wait_for("the dashboard's codebooks", lambda: [one for one in books() if in_use(one)], 300.0)
    assert {one["metric"]["codebook"] for one in books()} == {f"q{n}" for n in range(LEVELS)}
    assert speech.until_state(healthy, State.COMPLETE)["health"]["verdict"] == "Healthy"
    told = f'speech_operator_job_state{{job_name="{healthy}",state="Complete"}} == 1'
    wait_for("a scrape that knows it is complete", lambda: prometheus.query(told), 60.0)
    assert prometheus.query(f'ALERTS{{alertstate="firing",job_name="{healthy}"}}') == []
    assert receiver.names(DIVERGING) - BESIDE == {NON_FINITE}
    assert receiver.names(SILENT) - BESIDE == {ZERO_LOSS}
    others = {alert for alert in receiver.alerts if alert.job not in ended}
    assert not others


def test_each_fault_is_told_by_its_own_alert(
    watched: tuple[Prometheus, Receiver], speech: Namespace
) -> None:
    receiver = watched[1]
    for fault in FAULTS:
        speech.apply(faulty(fault))
    for fault, (_, alerts) in FAULTS.items():
        for alert in alerts:
            wait_for(f"{alert} of {fault}", partial(receiver.first, fault, alert), 240.0)
        assert receiver.names(fault) == alerts, speech.words(fault)
    for fault in FAULTS:
        speech.delete(fault)
