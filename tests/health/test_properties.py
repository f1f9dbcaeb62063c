"""Properties: silent on every sound curve, heard within its bound wherever a fault is planted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.phases import PAUSES, Phase
from speech_contract.progress import Rule, Severity
from speech_contract.report import Codebook, Plan, Weights
from speech_contract.thresholds import (
    ConstantComponent,
    LossSpike,
    OnExceeded,
    Stall,
    Telemetry,
    ZeroLoss,
)
from speech_health.samples import Source

quick = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
losses = st.floats(min_value=5e-324, max_value=1e30)
norms = st.none() | st.floats(min_value=5e-324, max_value=1e30)
rates = st.none() | st.floats(min_value=0.0, max_value=1.0)
sources = st.sampled_from(Source)
bad_values = st.sampled_from([math.nan, math.inf, -math.inf])
before = st.lists(losses, max_size=60)
SPIKES = {Rule.LOSS_SPIKE, Rule.GRADIENT_SPIKE}  # a curve of any values may well hold one


@pytest.fixture
def run_with(run_with: Callable[..., Any]) -> Callable[..., Any]:
    """Runs that no spike ends: other rules are asked here."""
    return lambda **rules: run_with(
        **{"loss_spike": LossSpike(on_exceeded=OnExceeded.WARN), **rules}
    )


def others(run: Any) -> list[Rule]:
    """The rules that fired, without the spikes."""
    return [rule for rule in run.rules if rule not in SPIKES]


@quick
@given(
    curve=st.lists(st.tuples(st.none() | losses, norms, rates), min_size=1, max_size=120),
    source=sources,
    gated=st.booleans(),
    stride=st.integers(1, 500),
)
def test_no_value_rule_fires_on_a_sound_curve(
    run_with: Callable[..., Any], curve: Any, source: Source, gated: bool, stride: int
) -> None:
    run = run_with()
    for number, (loss, norm, rate) in enumerate(curve, start=1):
        run.step(
            number * stride,
            loss=loss,
            gradient_norm=norm,
            learning_rate=rate,
            source=source,
            gated=gated,
            updates=number,
            samples_total=number * 100,
            skipped={"TooShort": number // 2},
            missing_gradients=["late"] if number > 1 else [],
        )
    run.monitor.finish(run.now, 0)
    assert others(run) == []


@quick
@given(
    gaps=st.lists(st.floats(0.01, 59.0), min_size=1, max_size=80),
    source=sources,
    pause=st.sampled_from(sorted(PAUSES)),
    data=st.data(),
)
def test_no_time_rule_fires_within_the_band(
    run_with: Callable[..., Any],
    row: Callable[..., Any],
    gaps: list[float],
    source: Source,
    pause: Phase,
    data: Any,
) -> None:
    run = run_with()
    registered = source is Source.REPORTER
    for step, gap in enumerate(gaps, start=1):
        run.step(step, after=gap, loss=1.0, source=source)
        run.tick(0.0, row(step=step, registered=registered))
        if registered and data.draw(st.booleans()):
            run.tick(30.0, row(step=step, registered=True, phase=pause, phase_age=30.0))
    assert run.rules == []


@quick
@given(
    before=before,
    bad=bad_values,
    source=sources,
    where=st.sampled_from(["loss", "mel"]),
    gated=st.booleans(),
)
def test_non_finite_is_heard_at_once_and_acted_upon_at_the_fourth(
    run_with: Callable[..., Any],
    before: list[float],
    bad: float,
    source: Source,
    where: str,
    gated: bool,
) -> None:
    run = run_with()
    for step, loss in enumerate(before, start=1):
        run.step(step, losses={"loss": loss, "mel": loss}, source=source, gated=gated)
    for number in range(1, 5):
        assert run.monitor.decision is None
        run.step(
            len(before) + number,
            losses={"loss": 1.0, "mel": 1.0, where: bad},
            source=source,
            gated=gated,
        )
        finding = run.finding(Rule.NON_FINITE)
        assert finding.step == len(before) + 1
    assert finding.severity is Severity.CRITICAL
    assert (run.monitor.decision is None) == gated


@quick
@given(before=before, source=sources, threshold=st.integers(1, 40), stride=st.integers(1, 100))
def test_zero_loss_fires_at_its_bound(
    run_with: Callable[..., Any],
    before: list[float],
    source: Source,
    threshold: int,
    stride: int,
) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=threshold))
    for step, loss in enumerate(before, start=1):
        run.step(step * stride, loss=loss, source=source)
    for number in range(1, threshold + 1):
        assert others(run) == []
        run.step((len(before) + number) * stride, loss=0.0, source=source)
    assert run.monitor.decision.finding.rule is Rule.ZERO_LOSS


@quick
@given(before=before, source=sources, loss=losses)
def test_no_gradient_fires_at_the_second_update(
    run_with: Callable[..., Any], before: list[float], source: Source, loss: float
) -> None:
    run = run_with()
    for step, norm in enumerate(before, start=1):
        run.step(step, loss=1.0, gradient_norm=norm, source=source)
    for number in (1, 2):
        assert others(run) == []
        step = len(before) + number
        run.step(step, loss=loss, gradient_norm=0.0, learning_rate=1e-4, source=source)
    assert run.monitor.decision.finding.rule is Rule.NO_GRADIENT


@quick
@given(
    gaps=st.lists(st.floats(0.01, 1.0) | st.floats(0.01, 500.0), min_size=4, max_size=60),
    source=sources,
    gated=st.booleans(),
)
def test_a_hang_fires_within_three_longest_gaps_or_the_floor(
    run_with: Callable[..., Any],
    row: Callable[..., Any],
    gaps: list[float],
    source: Source,
    gated: bool,
) -> None:
    run = run_with(stall=Stall(on_exceeded=OnExceeded.WARN))
    registered = source is Source.REPORTER
    for step, gap in enumerate(gaps, start=1):
        run.step(step, after=gap, loss=1.0, source=source, gated=gated and registered)
    last = row(step=len(gaps), registered=registered)
    run.tick(0.0, last)
    # Of one that does not name its pauses any silence may be one.
    floor = 60.0 if registered else 300.0
    bound = max(3 * max(gaps[1:]), floor) + 1.0
    run.tick(bound, row(step=len(gaps), registered=registered, phase_age=bound))
    assert run.finding(Rule.STALLED) is not None


@quick
@given(good=st.integers(0, 300), bad=st.integers(1, 10))
def test_skips_above_the_limit_stop_within_one_window(
    run_with: Callable[..., Any], good: int, bad: int
) -> None:
    run = run_with()
    trained = good * 10
    run.step(1, samples_total=trained, skipped={})
    for number in range(1, 102):
        run.step(
            number + 1,
            samples_total=trained + number * (10 - bad),
            skipped={"DecodeError": number * bad},
        )
        if run.monitor.decision is not None:
            break
    assert run.monitor.decision is not None
    assert run.monitor.decision.exit_code == 42


@quick
@given(
    reports=st.lists(
        st.builds(
            dict,
            step=st.integers(-5, 200),
            rank=st.integers(0, 2),
            losses=st.none() | st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
            gradient_norm=st.none() | st.floats(),
            learning_rate=st.none() | st.floats(),
            updates=st.none() | st.integers(0, 5),
            non_finite_steps=st.none() | st.integers(0, 9),
            bad_step=st.none() | st.integers(0, 9),
            skipped=st.none() | st.dictionaries(st.text(max_size=3), st.integers(0, 9)),
            samples_total=st.none() | st.integers(0, 2000),
            missing_gradients=st.none() | st.lists(st.text(max_size=3), max_size=3),
            rollbacks=st.none() | st.integers(0, 3),
            weights=st.none()
            | st.builds(
                Weights,
                step=st.integers(-5, 200),
                since=st.integers(-5, 200),
                updates=st.integers(-1, 50),
                unchanged=st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
                movement=st.dictionaries(st.text(max_size=3), st.floats(), max_size=2),
                rate_sum=st.none() | st.floats(),
            ),
            planned_rate=st.none() | st.floats(),
            audio_seconds_total=st.none() | st.floats(),
            device=st.sampled_from(["", "cpu", "cuda"]),
            codebooks=st.none()
            | st.dictionaries(
                st.text(max_size=2),
                st.builds(
                    Codebook,
                    perplexity=st.none() | st.floats(),
                    size=st.none() | st.integers(-1, 2000),
                    dead=st.none() | st.floats(),
                    movement=st.none() | st.floats(),
                    residual=st.none() | st.floats(),
                ),
                max_size=2,
            ),
            plan=st.none()
            | st.builds(
                Plan,
                total_steps=st.none() | st.integers(-1, 10**9),
                rate_sum=st.none() | st.floats(),
                fresh=st.none() | st.booleans(),
                parameters=st.none() | st.integers(-1, 10**12),
                samples=st.none() | st.integers(-1, 10**9),
                audio_seconds=st.none() | st.floats(),
                goal_snr=st.none() | st.floats(),
                bits_per_second=st.none() | st.floats(),
            ),
            evaluation=st.none()
            | st.dictionaries(st.sampled_from(["dtw_mel", "snr", "x"]), st.floats(), max_size=2),
            gated=st.booleans(),
            source=sources,
            phase=st.sampled_from(Phase),
        ),
        max_size=40,
    ),
    exit_code=st.sampled_from([0, 1, 40, 41, 137]),
)
def test_nothing_a_script_reports_breaks_the_monitor(
    run_with: Callable[..., Any], row: Callable[..., Any], reports: Any, exit_code: int
) -> None:
    run = run_with()
    for fields in reports:
        run.step(fields.pop("step"), **fields)
        run.tick(20.0, row(phase=fields["phase"], phase_age=5.0), row(1, registered=False))
    run.monitor.finish(run.now, exit_code)
    assert len({finding.rule for finding in run.monitor.findings}) == len(run.monitor.findings)
    for finding in run.monitor.findings:
        assert finding.evidence
        assert finding.remedy


@quick
@given(
    before=st.lists(st.floats(0.5, 2.0), max_size=60),
    bound=st.floats(1e-3, 1e3),
    source=sources,
    reports=st.integers(2, 40),
    stride=st.integers(1, 100),
)
def test_a_clamp_is_heard_at_its_bound_wherever_it_bites(
    run_with: Callable[..., Any],
    before: list[float],
    bound: float,
    source: Source,
    reports: int,
    stride: int,
) -> None:
    run = run_with(constant_component=ConstantComponent(for_reports=reports))
    for step, loss in enumerate(before, start=1):
        wiggled = (loss + step / 977) / 3
        run.step(step * stride, losses={"mel": step / 7, "vq": wiggled}, source=source)
    for number in range(1, reports + 1):
        assert others(run) == []
        step = len(before) + number
        clamped = bound + math.pi * 1e-6
        run.step(step * stride, losses={"mel": step / 7 + 1e-9, "vq": clamped}, source=source)
    assert others(run) == [Rule.CONSTANT_COMPONENT]


@quick
@given(batch=st.integers(1, 64), skips=st.lists(st.booleans(), min_size=1, max_size=200))
def test_skips_below_the_ratio_raise_nothing(
    run_with: Callable[..., Any], batch: int, skips: list[bool]
) -> None:
    run = run_with()
    bad = asked = last = 0
    for step, skip in enumerate(skips, start=1):
        asked += batch
        if skip and asked - last >= 150:  # below one per cent of any window, not of the whole alone
            bad, last = bad + 1, asked
        run.step(step, updates=step, samples_total=asked - bad, skipped={"TooShort": bad})
    run.monitor.finish(run.now, 0)
    assert run.rules == []


@quick
@given(silence=st.floats(0.0, 900.0), limit=st.integers(1, 600))
def test_missing_telemetry_is_told_from_its_limit_on(
    run_with: Callable[..., Any], row: Callable[..., Any], silence: float, limit: int
) -> None:
    run = run_with(telemetry=Telemetry(missing_seconds=limit))
    run.tick(silence, row(registered=False, phase=Phase.STARTING))
    assert (Rule.TELEMETRY_MISSING in run.rules) == (silence >= limit)


@quick
@given(reports=st.integers(5, 60), limit=st.integers(10, 300), gap=st.floats(0.01, 3.0))
def test_stale_telemetry_is_told_at_its_limit(
    run_with: Callable[..., Any], row: Callable[..., Any], reports: int, limit: int, gap: float
) -> None:
    run = run_with(telemetry=Telemetry(stale_seconds=limit))
    for step in range(1, reports + 1):
        run.step(step, after=gap, loss=float(step), gated=True)
        run.tick(0.0, row(step=step))
    run.tick(limit - 0.5, row(step=reports + 1, phase_age=0.1))
    assert Rule.TELEMETRY_STALE not in run.rules
    run.tick(1.0, row(step=reports + 2, phase_age=0.1))
    assert Rule.TELEMETRY_STALE in run.rules
