"""An hour of a small fleet, as its exporters tell it: what a Prometheus would have scraped, in OpenMetrics text.

The numbers are made up, the exposition is not: each scrape is rendered by the exporter of a supervisor or of the
operator. Used by test_queries.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Final

from speech_contract.findings import Action, Finding, FindingStatus
from speech_contract.progress import Progress, Rule, Severity
from speech_contract.report import Codebook, Memory, Peers, Weights
from speech_contract.wire import Datagram
from speech_health.samples import from_datagram
from speech_operator.cluster.base import JobKey
from speech_operator.metrics import OperatorMetrics
from speech_operator.timestamps import to_text
from speech_telemetry.exporter import Exporter

START: Final = 1_700_000_000  # epoch seconds
EVERY: Final = 60  # seconds between two scrapes
SCRAPES: Final = 61
END: Final = START + EVERY * (SCRAPES - 1)
TEAM: Final = "asr"
VOICE, CODEC, BROKEN, WAITING = "voice", "codec", "broken", "waiting"
JOBS: Final = (VOICE, CODEC, BROKEN, WAITING)
STEPS: Final = 20  # between two scrapes
BAD: Final = range(30, 34)  # scrapes at which the loss is NaN

Labels = dict[str, str]


def text() -> str:
    """All scrapes, oldest first within each series."""
    lines = (f"{series} {value} {at}" for series, at, value in sorted(_samples()))
    return "\n".join([*lines, "# EOF", ""])


def _samples() -> Iterator[tuple[str, int, str]]:
    jobs = {name: Exporter(recipe=name, checkpoint_every=500) for name in (VOICE, CODEC)}
    operator = OperatorMetrics(lambda: 2.0)
    operator.leader.set(1)
    for number in range(SCRAPES):
        at = START + EVERY * number
        for name, exporter in jobs.items():
            labels = {
                "namespace": "speech",
                "job_name": name,
                "team": TEAM,
                "pod": f"{name}-master-0",
            }
            exporter.update(_progress(name, number, at), *_reports(name, number, at))
            yield from _scrape(exporter.render(), labels, at)
        _operate(operator, number, at)
        own = {"namespace": "system", "pod": "operator-1"}
        yield from _scrape(operator.render(), own, at)


def _scrape(exposition: bytes, target: Labels, at: int) -> Iterator[tuple[str, int, str]]:
    """Samples with the labels of their target, where they have none of their own: `honorLabels`."""
    for line in exposition.decode().splitlines():
        if line.startswith("#"):
            continue
        series, _, value = line.rpartition(" ")
        name, _, own = series.removesuffix("}").partition("{")
        added = [f'{key}="{text}"' for key, text in target.items() if f'{key}="' not in f",{own}"]
        yield f"{name}{{{','.join(filter(None, [own, *added]))}}}", at, value


def _progress(name: str, number: int, at: int) -> Progress:
    step = STEPS * number
    bad = number in BAD
    found = Finding(
        Rule.NON_FINITE, FindingStatus.ACTIVE, Severity.WARNING, "nan", Action.GATED, since=at
    )
    told = {
        "weights": Weights(step, step - 500, 1, {"flow": 0.25}, {"flow": 0.01}),
        "codebooks": {"0": Codebook(perplexity=310.0, dead=0.2)} if name == CODEC else {},
        "evaluation": {"dtw_mel": 1.1 - number / 1000},
        "memory": {"0": Memory(used=2**30 + number, room=2**31)},
        "findings": [found] if bad else [],
    }  # fmt: skip
    return Progress(
        version=f"1.{number}", attempt=1, source="Reporter", step=step, total_steps=2000, updates=step,
        losses={"total": math.nan if bad else 40.0 / (1 + number), "mel": 1.0},
        gradient_norm=2.0, learning_rate=1e-4, rollbacks=int(number >= BAD.stop),
        samples_skipped={"DecodeError": number}, last_checkpoint_step=step // 500 * 500 or None,
        updated_at=float(at), **told,
    )  # fmt: skip


def _reports(name: str, number: int, at: int) -> Iterator[Any]:
    """What the two ranks sent since the last scrape."""
    wait = 36.0 if name == CODEC else 6.0
    for rank in range(2):
        step, bad = STEPS * number, number in BAD
        yield from_datagram(
            Datagram(
                rank=rank, step=step, time=float(at), updates=step, steps_total=step,
                non_finite_steps=max(0, min(number, BAD.stop) - BAD.start + 1),
                samples_total=16 * step, audio_seconds_total=80.0 * step, tokens_total=900 * step,
                step_seconds=0.2 + 0.01 * (number % 7), data_wait_seconds=wait * number,
                losses={"total": math.nan if bad else 40.0 / (1 + number)},
                gradient_norm=2.0,
                peers=Peers(step, [[0, 1]], step, gradient_norms=[1.0, 3.0], wait_ratios=[0.25, 0.5]),
            ),
            float(at),
        )  # fmt: skip
    if number == 5:  # a dead step
        zero = Datagram(
            rank=0,
            step=STEPS * number + 1,
            time=float(at),
            losses={"total": 0.0},
            gradient_norm=1.0,
        )
        yield from_datagram(zero, float(at))


def _operate(operator: OperatorMetrics, number: int, at: int) -> None:
    """Passes and statuses up to this scrape: one job fails after four attempts, one never starts."""
    for result, seconds in (("done", 0.02), ("done", 0.3), ("failed", 1.5)):
        operator.passed(result, seconds)
    attempt = min(4, 1 + number // 10)
    broken: dict[str, Any] = {"state": "Running", "attempt": attempt}
    broken["attempts"] = [{"number": n, "cause": "NonFiniteBudgetSpent"} for n in range(1, attempt)]
    if number > 45:
        broken |= {"state": "Failed", "completionTime": to_text(START + EVERY * 45)}
    findings = [{"rule": "NonFinite", "severity": "critical", "status": "Active"}]
    health = {"verdict": "Critical", "findings": findings}
    sound = {"state": "Running", "attempt": 1, "health": {"verdict": "Healthy"}}
    statuses: dict[str, dict[str, Any]] = {
        VOICE: {**sound, "goodput": {"ratio": "0.981"}},
        CODEC: {**sound, "goodput": {"ratio": "0.942"}},
        BROKEN: {**broken, "health": health},
        WAITING: {"state": "Pending", "reason": "Unschedulable"},
    }  # fmt: skip
    for name, status in statuses.items():
        key = JobKey("speech", name)
        labels = {"speechtrain.dev/team": TEAM}
        if number == 0:
            operator.read(key, {"metadata": {"labels": labels}, "status": status})
        operator.wrote(key, status)
