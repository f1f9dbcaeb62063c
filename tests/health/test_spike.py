"""Rules LossSpike and GradientSpike."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import GradientSpike, HealthMode, LossSpike, OnExceeded, Thresholds
from speech_health.detector import Attempt
from speech_health.monitor import detector_of
from speech_health.pace import Pace
from speech_health.samples import StepSample, from_fields
from speech_health.stretch import stretch_of


def wave(step: int) -> float:
    """A sound loss round 2, between 1.8 and 2.2."""
    return 2.0 + 0.2 * math.sin(step * 1.7)


def play(run: Any, marks: str, first: int = 1, high: float = 6.0, every: int = 1) -> None:
    """A report for each mark: `^` is a high one."""
    for place, mark in enumerate(marks):
        step = first + place * every
        run.step(step, loss=wave(step) * (high if mark == "^" else 1.0), gradient_norm=wave(step))


CALM = "." * 50


def test_a_spike_that_stays_warns_then_ends_the_attempt_with_40(run: Any) -> None:
    play(run, CALM + "^" * 9)
    assert run.rules == []
    play(run, "^", 60)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.severity, finding.step) == (Severity.WARNING, 51)
    assert "times the running median" in finding.evidence
    play(run, "^" * 69, 61)
    assert run.monitor.decision is None
    play(run, "^", 130)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next) == (40, OnExceeded.RESTART)
    assert decision.finding.severity is Severity.CRITICAL
    assert "not healed within 80 steps" in decision.finding.evidence


@pytest.mark.parametrize(
    ("marks", "since", "active"),
    [
        ("^" * 9 + "......", None, False),  # a burst that heals in time
        ("^" * 15 + ".", 51, True),
        ("^" * 15 + "..", 51, False),  # two normal reports heal
        ("^^^^^.^^^^", 51, True),  # one for five high ones does not
        ("^^^^^.^^^^^.^", 51, True),
        ("^^^^." + "^" * 9, None, False),  # for four it does: the next burst lasts nine steps
        ("^^^^." + "^" * 10, 56, True),
        ("^^^^......" + "^^^^^.^^^^", 61, True),  # the second is counted as the first
        ("^" * 25 + "." * 25 + "^" * 10, 101, True),  # one burst, however long, is no habit
        (("^" * 12 + "......") * 2 + "^" * 10, 87, True),  # nor are two
        ("^^^^......" * 2 + "^......" + "^" * 12, 78, True),
        ("^^^^......" * 2 + "^^......" + "^" * 12, None, False),  # ten that came down are
    ],
)
def test_a_burst_lasts_until_normal_reports_end_it(
    run: Any, marks: str, since: int | None, active: bool
) -> None:
    play(run, CALM + marks)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding and finding.step) == since
    assert finding is None or (finding.status is FindingStatus.ACTIVE) is active


def test_sparse_reports_need_five_to_warn_and_eight_to_end(run: Any) -> None:
    play(run, CALM + "^^^^", 100, every=100)
    assert run.rules == []
    for step in (5500, 5600, 5700):
        play(run, "^", step)
        assert run.finding(Rule.LOSS_SPIKE).severity is Severity.WARNING
    play(run, "^", 5800)
    assert run.monitor.decision.exit_code == 40


@pytest.mark.parametrize("mode", [HealthMode.ENFORCE, HealthMode.NOTIFY])
def test_warn_and_notify_end_nothing(run_with: Callable[..., Any], mode: HealthMode) -> None:
    acted = OnExceeded.WARN if mode is HealthMode.ENFORCE else OnExceeded.RESTART
    run = run_with(mode=mode, loss_spike=LossSpike(on_exceeded=acted))
    play(run, CALM + "^" * 150)
    assert run.monitor.decision is None
    expected = Action.WARNED if mode is HealthMode.ENFORCE else Action.WOULD_RESTART
    assert run.finding(Rule.LOSS_SPIKE).action is expected


@pytest.mark.parametrize(
    ("rates", "high", "told"),
    [
        ([None], 4.0, True),
        ([1e-4] * 3, 4.0, True),
        ([2e-4, 1e-4], 4.0, True),
        ([1e-4, 2e-4], 4.0, False),  # while it rises twice the factor is asked for
        ([1e-4, 2e-4, None], 4.0, False),
        ([1e-4, 2e-4], 5.6, True),
    ],
)
def test_only_while_the_learning_rate_rises_more_is_asked_for(
    run: Any, rates: list[float | None], high: float, told: bool
) -> None:
    play(run, CALM)
    for step, rate in enumerate(rates, 51):
        run.step(step, loss=2.0, learning_rate=rate)
    play(run, "^" * 20, 54, high)
    assert (Rule.LOSS_SPIKE in run.rules) is told


@pytest.mark.parametrize(
    ("part", "told"),
    [
        (lambda step: {"discriminator": 9.0 if step > 50 else 0.0}, False),
        (lambda step: {"discriminator": 1.0}, True),  # it was there
        (lambda step: {"discriminator": 0.0}, True),
    ],
)
def test_a_component_that_starts_begins_the_baseline_anew(
    run: Any, part: Callable[[int], dict[str, float]], told: bool
) -> None:
    for step in range(1, 120):
        total = wave(step) * (9.0 if step > 50 else 1.0)
        run.step(step, losses={"total": total, **part(step)})
    assert (Rule.LOSS_SPIKE in run.rules) is told


@pytest.mark.parametrize(
    ("first", "told_at", "told"),
    [
        (51, range(1, 120), False),
        (51, (50, 51), False),
        (51, (50,), True),  # not yet
        (1, range(1, 120), True),  # it runs from the start
        (30, range(1, 120), True),  # long ago
    ],
)
def test_an_announced_part_begins_the_baseline_anew(
    run: Any, first: int, told_at: Container[int], told: bool
) -> None:
    for step in range(1, 120):
        plan = {"discriminator": first} if step in told_at else None
        losses = {"total": wave(step) * (9.0 if step > 50 else 1.0)}
        run.step(step, losses=losses, active_from=plan)
    assert (Rule.LOSS_SPIKE in run.rules) is told


def test_a_roll_back_ends_the_burst_and_its_warning(run: Any) -> None:
    play(run, CALM + "^" * 7)
    play(run, "^" * 6, 31)
    assert run.rules == []
    play(run, "^" * 4, 37)
    assert run.finding(Rule.LOSS_SPIKE).step == 31
    play(run, ".", 25)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("one", "other", "active"),
    [
        (CALM + "." * 17, CALM + "^" * 17, True),  # that the first is calm heals nothing
        (CALM + "." * 17, CALM + "^" * 15 + "..", False),
        ("." * 30 + "^^" + "." * 35, CALM + "^" * 15 + "..", False),  # its burst is over
    ],
)
def test_a_rank_heals_by_its_own_reports(run: Any, one: str, other: str, active: bool) -> None:
    for step, marks in enumerate(zip(one, other, strict=True), 1):
        for rank, mark in enumerate(marks):
            run.step(step, rank=rank, loss=wave(step) * (6.0 if mark == "^" else 1.0))
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.status is FindingStatus.ACTIVE, finding.rank) == (active, 1)


def test_a_warning_tells_the_newest_report_until_it_is_critical(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 200):
        run.step(step, loss=wave(step) * (6.0 if step > 50 else 1.0))
        run.step(step, rank=1, loss=wave(step) * (6.0 if 150 < step else 1.0))
        if step > 150:  # a third one starts high
            run.step(step, rank=2, loss=wave(step) * (6.0 if 155 < step else 1.0))
        finding = run.finding(Rule.LOSS_SPIKE)
        if 60 <= step < 130:
            assert f"at step {step}," in finding.evidence
    assert "not healed" in finding.evidence  # the other rank's younger spike does not soften it
    assert finding.severity is Severity.CRITICAL


def test_after_a_spike_that_passed_its_window_and_healed_the_next_one_warns(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    play(run, CALM + "^" * 80)
    assert run.finding(Rule.LOSS_SPIKE).severity is Severity.CRITICAL
    play(run, "...", 131)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED
    play(run, "^" * 10, 134)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.status, finding.severity, finding.step) == (
        FindingStatus.ACTIVE,
        Severity.WARNING,
        134,
    )


@pytest.mark.parametrize("losses", [True, False])
@pytest.mark.parametrize("announced", [None, {"discriminator": 1}])
def test_a_gradient_explosion_by_default_only_warns(
    run: Any, losses: bool, announced: dict[str, int] | None
) -> None:
    for step in range(1, 160):
        norm = wave(step) * (100.0 if step > 50 else 1.0)
        loss = wave(step) if losses or step == 1 else None
        run.step(step, loss=loss, gradient_norm=norm, active_from=announced)
    assert run.rules == [Rule.GRADIENT_SPIKE]
    assert run.finding(Rule.GRADIENT_SPIKE).action is Action.WARNED
    assert run.monitor.decision is None


def test_asked_to_restart_it_does(run_with: Callable[..., Any]) -> None:
    run = run_with(gradient_spike=GradientSpike(on_exceeded=OnExceeded.RESTART))
    for step in range(1, 160):
        run.step(step, gradient_norm=wave(step) * (100.0 if step > 50 else 1.0))
    assert run.monitor.decision.exit_code == 40


@pytest.mark.parametrize(("height", "told"), [(18.0, False), (18.1, True)])
def test_half_as_high_again_is_still_no_news(run: Any, height: float, told: bool) -> None:
    for step, mark in enumerate(CALM + "^^^^......^^^^......^^......" + "!" * 20, 1):
        run.step(step, loss={".": 2.0, "^": 12.0, "!": height}[mark])
    assert (Rule.LOSS_SPIKE in run.rules) is told


@pytest.mark.parametrize(
    ("low", "told", "measured"),
    [
        ([2.0], "8.0 times the running median 2", False),  # no spread to measure it by
        ([2.0, 1.9, 2.1, 1.8, 2.0, 2.2, 2.1], "8.0 times the running median 2", True),
        ([-0.2, -0.1, 0.2, 0.0, 0.0, 0.2, -0.1], "above the running median 0", True),
        ([0.5, 0.4, 0.6, 0.5, 0.3, 0.7, 0.5], "32.0 times the running median 0.5", True),
    ],
)
def test_how_high_it_is_is_told_as_far_as_it_can_be(
    run: Any, low: list[float], told: str, measured: bool
) -> None:
    for step in range(1, 61):
        run.step(step, loss=16.0 if step > 50 else low[step % len(low)])
    evidence = run.finding(Rule.LOSS_SPIKE).evidence
    assert told in evidence
    assert ("robust z" in evidence) is measured


def test_a_bar_that_shows_the_step_first_hides_no_spike(run: Any) -> None:
    for step in range(1, 131):
        run.say(step, report=step - 1)
        run.say(step, loss=wave(step) * (6.0 if step > 50 else 1.0), report=step)
    assert run.finding(Rule.LOSS_SPIKE).step == 51


def test_a_value_told_twice_at_a_step_counts_once(run: Any) -> None:
    play(run, CALM)
    for _ in range(200):
        run.step(51, loss=wave(51) * 6.0)
    assert run.rules == []


@pytest.mark.parametrize(("name", "height", "told"), [
    ("gen_loss_total", 1000.0, True), ("gen_loss_total", 999.0, False), ("loss_gen", 1e6, False), ("total", 6.0, True),
])  # fmt: skip
def test_a_sum_that_explodes_has_no_level_of_its_own(
    run: Any, name: str, height: float, told: bool
) -> None:
    for step in range(1, 101):
        losses = {name: height if step > 50 else 1.0, "loss_disc": 1.0 + wave(step)}
        run.step(step, losses=losses)
    assert (run.finding(Rule.LOSS_SPIKE) is not None) == told


@pytest.mark.parametrize(
    ("high", "code", "more", "told"),
    [
        (6, 0, {}, True),
        (5, 0, {}, False),
        (6, 1, {}, False),
        (6, 0, {"kl": 1.5}, False),  # it is not alone
        (29, 1, {}, False),
        (30, 1, {}, True),  # it stays
    ],
)
def test_a_rise_within_the_first_reports_is_told_when_it_stays_or_at_the_end(
    run: Any, high: int, code: int, more: dict[str, float], told: bool
) -> None:
    for step in range(1, 9 + high):
        run.step(step, losses={"loss": wave(step) * (4.0 if step > 8 else 1.0), **more})
    run.monitor.finish(run.now, code)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding is not None) is told
    assert finding is None or (finding.step, finding.status) == (9, FindingStatus.ACTIVE)


def test_an_early_rise_is_told_once_and_heals_when_it_comes_down(run: Any) -> None:
    play(run, "." * 8 + "^" * 35, high=4.0)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.status, finding.severity) == (FindingStatus.ACTIVE, Severity.WARNING)
    assert "(30 reports)" in finding.evidence
    play(run, ".", 44)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED


def reports(first: int, number: int, height: float = 1.0, **fields: Any) -> list[StepSample]:
    """Of a low loss, unless it is told otherwise."""
    base = {"time": 0.0, "now": 0.0, "rank": 0}
    return [
        from_fields(base | {"step": step, "losses": {"loss": wave(step) * height / 10}} | fields)
        for step in range(first, first + number)
    ]


def judge(rule: Rule, *samples: StepSample) -> Any:
    """A rule by itself that heard these."""
    kind = detector_of(rule)
    assert kind is not None
    attempt = Attempt(HealthMode.NOTIFY, lambda: 0.0, Pace(0.0))
    detector = kind(getattr(Thresholds(), rule.record.section), attempt)
    for sample in samples:
        detector.feed(sample)
    return detector


def passes(detector: Any, batch: list[StepSample]) -> bool:
    stretch = stretch_of(batch)
    assert stretch is not None
    told: bool = detector.pass_over(stretch)
    return told


SUM = {"loss_total": 1.0}
NORMS: dict[str, Any] = {"losses": None, "gradient_norm": 1.0}
HIGH = [*reports(1, 20, rank=1), *reports(21, 10, 6.0, rank=1)]


@pytest.mark.parametrize(
    ("heard", "batch", "passed"),
    [
        (reports(1, 20), reports(21, 10), True),
        (reports(1, 20), reports(21, 10, 6.0), False),
        (reports(1, 20), reports(20, 10), False),  # the last step once more
        (reports(1, 20), reports(21, 10, losses={"loss": 0.2, "kl": 0.0}), True),  # a part is off
        (reports(1, 20), reports(21, 10, losses={"loss": 0.2, "kl": 1.0}), False),
        (reports(1, 20, losses=SUM), reports(21, 10, losses={"loss_total": 2000.0}), False),
        (reports(1, 20, losses=SUM), reports(21, 10, losses={"loss_total": 2.0}), True),
        ([], reports(21, 10), False),
        (reports(1, 9), reports(10, 10), False),  # the first reports are watched
        ([*reports(1, 20), *reports(21, 1, 6.0)], reports(22, 10), False),  # a burst
        ([*reports(1, 20), *HIGH], reports(21, 10), False),  # of another rank, and told
    ],
)
def test_of_calm_reports_of_a_known_series_nothing_is_to_be_said(
    heard: list[StepSample], batch: list[StepSample], passed: bool
) -> None:
    assert passes(judge(Rule.LOSS_SPIKE, *heard), batch) is passed


@pytest.mark.parametrize(("heard", "batch", "passed"), [
    (NORMS, NORMS, True), (NORMS, NORMS | {"gradient_norm": 50.0}, False), ({}, {}, True),
    (NORMS, {"gradient_norm": 1.0}, False),  # losses begin
])  # fmt: skip
def test_norms_are_passed_over_with_and_without_losses(
    heard: dict[str, Any], batch: dict[str, Any], passed: bool
) -> None:
    detector = judge(Rule.GRADIENT_SPIKE, *reports(1, 20, **heard))
    assert passes(detector, reports(21, 10, **batch)) is passed


@pytest.mark.parametrize(("rates", "height", "told"), [
    ([None], 4.0, True), ([1e-4, 1e-4], 4.0, True), ([3e-4, 2e-4, 1e-4], 4.0, True),
    ([1e-4, None, 2e-4, None], 4.0, False), ([1e-4, None, 2e-4, None], 7.0, True),  # they rise
])  # fmt: skip
def test_what_was_passed_over_was_heard(
    rates: list[float | None], height: float, told: bool
) -> None:
    detector, batch = judge(Rule.LOSS_SPIKE, *reports(1, 20)), reports(21, 14)
    for sample, rate in zip(batch, [*[None] * (14 - len(rates)), *rates], strict=True):
        vars(sample)["learning_rate"] = rate
    assert passes(detector, batch)
    for sample in [*reports(34, 1, 50.0), *reports(35, 9, height)]:
        detector.feed(sample)
    assert detector.finding is None  # step 34 was there: nine high ones
    detector.feed(reports(44, 1, height)[0])
    assert (detector.finding is not None) is told


@pytest.mark.parametrize(
    ("high", "exit_code", "told"),
    [([3e6] * 5, 0, True), ([3e6] * 4, 0, False), ([3e6] * 5, 1, False), ([1.5e3] * 5, 0, False)],
    ids=["exploded", "four reports", "crashed", "high, but no explosion"],
)
def test_an_explosion_that_the_run_ends_on_is_told(
    run: Any, high: list[float], exit_code: int, told: bool
) -> None:
    for step in range(1, 41):
        run.step(step, loss=3.0 - step / 40 + 0.1 * math.sin(step))
    for step, loss in enumerate(high, start=41):
        run.step(step, loss=loss)
    assert run.finding(Rule.LOSS_SPIKE) is None
    run.monitor.finish(run.now, exit_code)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding is not None) is told
    if finding is not None:
        assert (finding.step, finding.severity) == (41, Severity.WARNING)
        assert "at the end of the run, high since step 41 (5 reports)" in finding.evidence
