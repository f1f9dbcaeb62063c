"""The exporter against its catalogue and the traps of Prometheus."""

from __future__ import annotations

import dataclasses
import math
import threading

import pytest
from prometheus_client.parser import text_string_to_metric_families

from speech_contract.findings import Action, Finding, FindingStatus, RankRow
from speech_contract.metrics import LAST_STEP, LOSS, SKIP_REASONS, STEP_DURATION, TRAINING_METRICS
from speech_contract.progress import Progress, Rule, Severity
from speech_contract.report import Codebook, Memory, Peers, Weights
from speech_contract.wire import Datagram
from speech_health.samples import Source, StepSample, from_datagram
from speech_telemetry.exporter import Exporter

P = "speech_training_"
EMPTY = Progress(version="1.0", attempt=1)


def scrape(exporter: Exporter) -> dict[str, float]:
    """Series with sorted labels → value."""
    series = {}
    for family in text_string_to_metric_families(exporter.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{k}={v}" for k, v in sorted(sample.labels.items()))
            name = sample.name.removeprefix(P)
            series[f"{name}{{{labels}}}" if labels else name] = sample.value
    return series


def full_progress() -> Progress:
    return dataclasses.replace(
        EMPTY,
        source="Reporter",
        step=7,
        total_steps=60,
        losses={"total": 1.5, "mel": 1.0},
        gradient_norm=2.0,
        learning_rate=1e-4,
        updates=6,
        rollbacks=1,
        samples_skipped={"DecodeError": 2, "Invented": 3},
        last_checkpoint_step=5,
        evaluation={"dtw_mel": 1.1},
        findings=[Finding(Rule.ZERO_LOSS, FindingStatus.ACTIVE, Severity.CRITICAL, "because")],
        ranks=[RankRow(0, 0), RankRow(1, 0)],
        updated_at=1000.5,
        weights=Weights(5, 4, 1, {"flow": 0.25}, {"flow": 0.01}),
        memory={"1": Memory(used=2**30, room=2**31)},
        codebooks={"0": Codebook(perplexity=310.0, dead=0.2), "1": Codebook()},
    )


def full_sample(**fields: object) -> StepSample:
    base = Datagram(
        rank=0,
        step=7,
        time=1000.5,
        updates=6,
        steps_total=9,
        non_finite_steps=2,
        samples_total=70,
        audio_seconds_total=12.5,
        step_seconds=0.2,
        data_wait_seconds=0.5,
        losses={"total": 1.5},
        gradient_norm=2.0,
        peers=Peers(7, [[0, 1]], 7, gradient_norms=[1.0, 3.0], wait_ratios=[0.25, 0.5]),
    )
    return from_datagram(dataclasses.replace(base, **fields), 0.0)  # type: ignore[arg-type]


def test_every_metric_of_the_catalogue_and_no_other() -> None:
    """A metric that names its source needs nothing else to be exported."""
    sample = full_sample()
    exporter = Exporter(recipe="vits", checkpoint_every=5)
    rest = {m.source: 1.0 for m in TRAINING_METRICS if getattr(sample, m.source, 0) is None}
    exporter.update(full_progress(), dataclasses.replace(sample, **rest))  # type: ignore[arg-type]
    families = {
        (f.name + "_total" if f.type == "counter" else f.name, f.type, f.documentation)
        for f in text_string_to_metric_families(exporter.render().decode())
    }
    assert families == {(m.name, m.kind.value, m.help) for m in TRAINING_METRICS}


def test_values() -> None:
    exporter = Exporter(recipe="vits")
    exporter.update(full_progress(), full_sample())
    seen = scrape(exporter)
    expected = {
        "loss{name=total}": 1.5,
        "loss{name=mel}": 1.0,
        "loss_finite": 0.0,
        "gradient_norm": 2.0,
        "learning_rate": 1e-4,
        "step": 7.0,
        "steps_total": 9.0,
        "updates_total": 6.0,
        "rollbacks_total": 1.0,
        "nonfinite_steps_total{kind=gradient}": 2.0,
        "samples_skipped_total{reason=DecodeError}": 2.0,
        "samples_skipped_total{reason=Other}": 3.0,
        "samples_total": 70.0,
        "audio_seconds_total": 12.5,
        "data_wait_seconds_total": 0.5,
        "step_duration_seconds_count": 1.0,
        "last_step_timestamp_seconds": 1000.5,
        "last_checkpoint_timestamp_seconds": 1000.5,
        "checkpoint_step": 5.0,
        "evaluation{name=dtw_mel}": 1.1,
        "weights_unchanged_ratio{module=flow}": 0.25,
        "weights_movement_ratio{module=flow}": 0.01,
        "host_memory_bytes{node=1}": 2.0**30,
        "codebook_perplexity{codebook=0}": 310.0,
        "codebook_dead_ratio{codebook=0}": 0.2,
        "host_memory_room_bytes{node=1}": 2.0**31,
        "health_finding{rule=ZeroLoss,severity=critical}": 1.0,
        "info{attempt=1,recipe=vits,source=Reporter,world_size=2}": 1.0,
        "ranks_agreed_step": 7.0,
        "rank_gradient_norm{rank=1}": 3.0,
        "rank_wait_ratio{rank=0}": 0.25,
    }
    assert {name: seen.get(name) for name in expected} == expected


def test_the_rhythm_of_checkpoints_is_what_was_set() -> None:
    exporter = Exporter(checkpoint_every=500)
    exporter.update(EMPTY)
    assert scrape(exporter)["checkpoint_interval_steps"] == 500.0
    for step in (500, 700):
        exporter.update(dataclasses.replace(EMPTY, last_checkpoint_step=step))
    assert scrape(exporter)["checkpoint_interval_steps"] == 500.0
    assert scrape(exporter)["checkpoint_step"] == 700.0


def test_of_a_script_the_rhythm_is_that_of_its_newest_two_checkpoints() -> None:
    """A roll-back goes to an older one: no rhythm."""
    exporter, seen = Exporter(), []
    for step in (None, 100, 300, 300, 200, 450):
        exporter.update(dataclasses.replace(EMPTY, last_checkpoint_step=step))
        seen.append(scrape(exporter).get("checkpoint_interval_steps"))
    assert seen == [None, None, 200.0, 200.0, 200.0, 250.0]


def test_what_was_done_about_a_finding_is_counted_once_each_time() -> None:
    exporter, progress = Exporter(), full_progress()
    (finding,) = progress.findings
    gated = dataclasses.replace(finding, action=Action.GATED)
    back = dataclasses.replace(finding, action=Action.ROLLED_BACK)
    again = dataclasses.replace(back, since=finding.since + 100)
    for each in (gated, gated, back, back, again):
        exporter.update(dataclasses.replace(progress, findings=[each]))
    seen = scrape(exporter)
    assert seen["health_actions_total{action=Gated}"] == 1.0
    assert seen["health_actions_total{action=RolledBack}"] == 2.0
    assert seen["health_actions_total{action=Stopped}"] == 0.0


def test_before_the_first_report_counters_are_zero_and_gauges_absent() -> None:
    exporter = Exporter()
    exporter.update(EMPTY)
    seen = scrape(exporter)
    assert not any(name.startswith(("loss", "step{", "gradient_norm")) for name in seen)
    assert "step" not in seen
    assert LAST_STEP.name.removeprefix(P) not in seen
    assert not any(name.startswith("health_finding") for name in seen)
    assert {seen[f"samples_skipped_total{{reason={r}}}"] for r in SKIP_REASONS} == {0.0}
    assert {seen[f"nonfinite_steps_total{{kind={k}}}"] for k in ("loss", "gradient")} == {0.0}
    assert seen["zero_loss_steps_total"] == 0.0
    assert seen["health_actions_total{action=WouldHaveStopped}"] == 0.0
    assert not any(name.endswith("_created") for name in seen)


def test_a_nan_loss_shows_and_no_counter_is_poisoned() -> None:
    exporter = Exporter()
    progress = dataclasses.replace(EMPTY, step=1, losses={"loss": math.nan}, updated_at=1.0)
    bad = full_sample(
        non_finite_steps=None,
        losses={"loss": math.nan},
        audio_seconds_total=math.nan,
        step_seconds=math.nan,
        data_wait_seconds=math.inf,
    )
    exporter.update(progress, bad)
    seen = scrape(exporter)
    assert math.isnan(seen["loss{name=loss}"])
    assert seen["loss_finite"] == 0.0
    assert seen["nonfinite_steps_total{kind=loss}"] == 1.0
    rest = {name: value for name, value in seen.items() if not name.startswith("loss{")}
    assert [name for name, value in rest.items() if not math.isfinite(value)] == []
    exporter.update(progress, full_sample(step=8, audio_seconds_total=3.0))
    assert scrape(exporter)["audio_seconds_total"] == 3.0


def test_loss_finite_comes_back_and_the_counter_stays() -> None:
    exporter = Exporter()
    exporter.update(EMPTY, full_sample(losses={"loss": math.nan}, non_finite_steps=0))
    assert scrape(exporter)["loss_finite"] == 0.0
    later = full_sample(step=8, non_finite_steps=1, bad_step=7, bad_component="loss")
    exporter.update(EMPTY, later)
    exporter.update(EMPTY, full_sample(step=9, non_finite_steps=1))
    seen = scrape(exporter)
    assert seen["loss_finite"] == 1.0
    assert seen["nonfinite_steps_total{kind=loss}"] == 1.0
    assert seen["nonfinite_steps_total{kind=gradient}"] == 0.0


def test_ranks_add_samples_but_not_steps() -> None:
    exporter = Exporter()
    exporter.update(EMPTY, full_sample(), full_sample(rank=1, samples_total=30))
    seen = scrape(exporter)
    assert (seen["samples_total"], seen["steps_total"]) == (100.0, 9.0)
    assert seen["nonfinite_steps_total{kind=gradient}"] == 2.0


def test_a_stranger_is_counted_for() -> None:
    exporter = Exporter()
    for step in (10, 11, 12):
        sample = StepSample(0.0, 0.0, 0, step, Source.STDOUT, losses={"loss": 0.0})
        exporter.update(EMPTY, sample)
    seen = scrape(exporter)
    assert seen["zero_loss_steps_total"] == 3.0
    assert seen["steps_total"] == 3.0


def test_a_healed_finding_leaves_the_scrape() -> None:
    exporter = Exporter()
    exporter.update(full_progress())
    healed = dataclasses.replace(full_progress().findings[0], status=FindingStatus.HEALED)
    exporter.update(dataclasses.replace(full_progress(), findings=[healed]))
    assert not any(name.startswith("health_finding") for name in scrape(exporter))


def test_one_info_series_whatever_changes() -> None:
    exporter = Exporter()
    for source in ("", "Stdout", "Reporter"):
        exporter.update(dataclasses.replace(EMPTY, source=source))
    assert [n for n in scrape(exporter) if n.startswith("info")] == [
        "info{attempt=1,recipe=,source=Reporter,world_size=1}"
    ]


@pytest.mark.parametrize("seconds", [0.0, 0.2, 100.0])
def test_step_durations_fall_into_the_catalogues_buckets(seconds: float) -> None:
    exporter = Exporter()
    exporter.update(EMPTY, full_sample(step_seconds=seconds))
    buckets = {
        float(name.partition("le=")[2].rstrip("}")): value
        for name, value in scrape(exporter).items()
        if name.startswith("step_duration_seconds_bucket")
    }
    assert sorted(buckets) == [*STEP_DURATION.buckets, math.inf]
    assert {edge: float(seconds <= edge) for edge in buckets} == buckets


def test_two_exporters_do_not_share_a_registry() -> None:
    first, second = Exporter(), Exporter()
    first.update(full_progress())
    assert f"{LOSS.name.removeprefix(P)}{{name=total}}" not in scrape(second)


def test_scraping_while_updating_is_safe() -> None:
    exporter, failures = Exporter(), []

    def scrape_often() -> None:
        try:
            for _ in range(100):
                exporter.render()
        except RuntimeError as error:
            failures.append(error)

    thread = threading.Thread(target=scrape_often)
    thread.start()
    for step in range(200):
        losses = {f"part{step % 17}": 1.0}
        findings = full_progress().findings * (step % 2)
        exporter.update(
            dataclasses.replace(EMPTY, step=step, losses=losses, findings=findings),
            full_sample(step=step),
        )
    thread.join()
    assert failures == []


def test_one_ranks_nan_does_not_stop_the_others_counter() -> None:
    exporter = Exporter()
    exporter.update(EMPTY, full_sample(rank=1, audio_seconds_total=math.nan))
    exporter.update(EMPTY, full_sample(rank=0, audio_seconds_total=4.0))
    assert scrape(exporter)["audio_seconds_total"] == 4.0


@pytest.mark.parametrize("seconds", [math.nan, math.inf, None])
def test_a_duration_that_is_no_number_is_not_observed(seconds: float | None) -> None:
    exporter = Exporter()
    exporter.update(EMPTY, full_sample(step_seconds=seconds))
    assert scrape(exporter)["step_duration_seconds_count"] == 0.0
