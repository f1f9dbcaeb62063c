"""NotUpdating: bit-identical checkpoints, by module, and plans that cannot move a weight."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.outcome import EXIT_NOT_LEARNING
from speech_contract.progress import Rule, Severity
from speech_contract.report import Plan, Weights
from speech_contract.thresholds import HealthMode, NotUpdating, OnExceeded
from speech_health import not_updating
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.samples import StepSample, from_fields
from speech_health.stretch import Stretch, stretch_of


def save(run: Any, step: int, unchanged: Mapping[str, float], updates: int = 10) -> None:
    """A report that follows a checkpoint of `step`."""
    weights = Weights(step, step - updates, updates, dict(unchanged), {}, 1e-3)
    run.step(step + 1, loss=1.0, gradient_norm=1.0, weights=weights)


def test_every_module_still_stops_the_run(run: Any) -> None:
    save(run, 100, {"flow": 1.0, "decoder": 1.0}, updates=100)
    decision = run.monitor.decision
    assert decision.exit_code == EXIT_NOT_LEARNING
    assert decision.finding.rule is Rule.NOT_UPDATING
    assert decision.finding.evidence == (
        "every weight is bit-identical over 100 updates, from step 0 to 100, with learning rates that add up to 0.001"
    )


def test_a_module_that_moves_in_between_starts_over(run: Any) -> None:
    for step, share in ((5, 1.0), (10, 0.3), (15, 1.0), (20, 0.0)):
        save(run, step, {"flow": share}, updates=5)
    assert run.rules == []


def test_one_module_still_is_a_warning_and_heals(run: Any) -> None:
    save(run, 10, {"flow": 1.0, "decoder": 0.1})
    finding = run.finding(Rule.NOT_UPDATING)
    assert finding.severity is Severity.WARNING
    assert "1 of 2 modules are bit-identical" in finding.evidence
    assert finding.evidence.endswith("flow")
    save(run, 20, {"flow": 0.5, "decoder": 0.1})
    assert run.finding(Rule.NOT_UPDATING).status is FindingStatus.HEALED
    assert run.monitor.decision is None


def test_the_same_comparison_told_twice_counts_once(run: Any) -> None:
    for _ in range(3):
        save(run, 5, {"flow": 1.0}, updates=5)
    assert run.rules == []


def test_without_an_update_between_nothing_is_said(run: Any) -> None:
    save(run, 10, {"flow": 1.0}, updates=0)
    save(run, 15, {"flow": 1.0}, updates=9)
    save(run, 20, {}, updates=0)
    assert run.rules == []
    save(run, 25, {"flow": 1.0}, updates=1)
    assert run.rules == [Rule.NOT_UPDATING]


def test_notify_says_what_it_would_have_done(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    save(run, 10, {"flow": 1.0})
    assert run.finding(Rule.NOT_UPDATING).action is Action.WOULD_STOP
    assert run.monitor.decision is None


def test_warn_never_ends_the_run(run_with: Callable[..., Any]) -> None:
    run = run_with(not_updating=NotUpdating(on_exceeded=OnExceeded.WARN))
    save(run, 10, {"flow": 1.0})
    assert run.finding(Rule.NOT_UPDATING).severity is Severity.WARNING
    assert run.monitor.decision is None


@pytest.mark.parametrize(
    ("plan", "fires"),
    [
        (Plan(300, 300 * 1e-5, fresh=True), True),  # 33 files, 300 steps, 1e-5: cannot learn
        (Plan(300, 300 * 1e-5, fresh=False), False),  # the same adapts a pretrained model
        (Plan(300, 300 * 1e-7, fresh=False), True),
        (Plan(1000, 1.0, fresh=True), False),
        (Plan(20000, 0.2, fresh=True), False),
        (Plan(10, 1e-4, fresh=True), False),  # a trial
        (Plan(None, 1e-5, fresh=True), False),
        (Plan(300, None, fresh=True), False),
        (Plan(300, 0.0, fresh=None), True),
        (Plan(300, float("nan"), fresh=True), False),
        (Plan(300, -1.0, fresh=True), False),
        (Plan(200, 0.0199, fresh=True), True),
        (Plan(199, 0.0199, fresh=True), False),
        (Plan(200, 0.02, fresh=True), False),
        (Plan(200, 1.99e-4, fresh=False), True),
        (Plan(200, 2e-4, fresh=False), False),
    ],
)
def test_a_plan_that_moves_nothing_is_a_warning_at_the_start(
    run: Any, plan: Plan, fires: bool
) -> None:
    run.step(1, loss=1.0, plan=plan)
    assert (run.rules == [Rule.NOT_UPDATING]) == fires
    assert run.monitor.decision is None
    save(run, 100, {"flow": 0.0})
    active = [f for f in run.monitor.findings if f.status is FindingStatus.ACTIVE]
    assert bool(active) == fires  # that weights move does not mend the plan


def test_a_missing_gradient_pages_alone(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in (1, 2):
        run.step(step, loss=1.0, gradient_norm=0.0)
    save_with_zero = Weights(12, 2, 10, {"flow": 1.0}, {})
    run.step(13, loss=1.0, gradient_norm=0.0, weights=save_with_zero)
    assert run.rules == [Rule.NO_GRADIENT]


def rates(run: Any, *values: float | None, first: int = 1, **fields: Any) -> None:
    for step, rate in enumerate(values, start=first):
        loss = fields.get("loss", 1.0 + step % 3 / 7)
        run.step(step, **fields | {"loss": loss, "learning_rate": rate, "updates": step})


def evaluate(run: Any, *losses: float, first: int = 10, **fields: Any) -> None:
    for number, loss in enumerate(losses):
        scores = {"loss": loss, "accuracy": EXACT}
        run.step(first + 10 * number, evaluation=scores, evaluated=True, **fields)


EXACT = 1.23456789012345


@pytest.mark.parametrize(
    ("told", "evidence"),
    [
        ([1e-3] * 5 + [0.0] * 19, ""),
        (
            [1e-3] * 5 + [0.0] * 20,
            "in 20 reports in a row since step 6, after it was above 0; thre",
        ),
        ([0.0] * 59, ""),
        ([0.0] * 60, "in 60 reports in a row since step 1, and never above; threshold 20"),
        ([1e-3, *[0.0] * 19, 1e-3, *[0.0] * 19], ""),
        ([1e-3, *[0.0] * 9, None, None, *[0.0] * 11], "in 20 reports in a row since step 2, after"),
    ],
)
def test_a_rate_of_0_in_20_reports_is_a_warning_and_in_60_from_the_start(
    run: Any, told: list[float | None], evidence: str
) -> None:
    rates(run, *told)
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding is not None) is bool(evidence)
    if finding is not None:
        assert finding.evidence.startswith(f"learning rate exactly 0 {evidence}")
        assert finding.remedy.startswith("make the schedule as long as the training")


@pytest.mark.parametrize(
    ("first", "later", "over"),
    [
        ({}, {}, None),
        ({"total_steps": 21}, {}, None),
        ({"total_steps": 20}, {}, 20),  # told once
        ({}, {"total_steps": 20}, 20),
        ({"total_steps": 20}, {"total_steps": 21}, None),  # the newest plan
    ],
)
def test_planned_steps_that_are_over_are_said(
    run: Any, first: dict[str, int], later: dict[str, int], over: int | None
) -> None:
    rates(run, 1e-3, **first)
    rates(run, *[0.0] * 20, first=2, **later)
    evidence = run.finding(Rule.NOT_UPDATING).evidence
    assert ("planned steps are over" in evidence) is (over is not None)
    assert (f", {over} planned steps are over; threshold 20" in evidence) is (over is not None)


@pytest.mark.parametrize(
    ("rate", "loss", "how"),
    [(2e-3, 1.0, "learning rate 0.002"), (0.0, 0.5, "the loss falls"), (0.0, 1.0, "")],
)
def test_a_rate_of_0_heals_with_another_or_with_a_loss_that_falls(
    run: Any, rate: float, loss: float, how: str
) -> None:
    rates(run, 1e-3, *[0.0] * 20, loss=1.0)
    rates(run, *[rate] * 6, first=22, loss=loss)
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.status is FindingStatus.HEALED) is bool(how)
    assert f"healed: {how} at step" in finding.evidence or not how
    rates(run, *[0.0] * 20, first=28, loss=1.0)
    assert (run.finding(Rule.NOT_UPDATING).step, how) in ((28, "learning rate 0.002"), (2, how))


def test_the_same_held_out_loss_four_times_is_a_warning_and_heals(run: Any) -> None:
    evaluate(run, EXACT + 1.0, *[EXACT] * 3)
    run.step(45, evaluation={"loss": EXACT, "accuracy": EXACT})  # what a reporter repeats
    assert run.rules == []
    evaluate(run, EXACT, first=50)
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.step, finding.severity) == (20, Severity.WARNING)
    assert (
        f"held-out 'loss' is exactly {EXACT} in 4 evaluations in a row, steps 20 to 50"
        in finding.evidence
    )
    evaluate(run, EXACT + 1.0, first=60)
    evidence = run.finding(Rule.NOT_UPDATING).evidence
    assert evidence.endswith("healed: held-out losses move again at step 60")


def test_held_out_losses_while_the_rate_is_0_are_another_series(run: Any) -> None:
    evaluate(run, *[EXACT] * 3, learning_rate=1e-3)
    evaluate(run, EXACT, first=40, learning_rate=0.0)
    evaluate(run, *[EXACT] * 3, first=50, learning_rate=1e-3)
    assert run.rules == []
    evaluate(run, EXACT, first=80, learning_rate=1e-3)
    assert run.rules == [Rule.NOT_UPDATING]


@pytest.mark.parametrize("share", [1.0, 0.0])
def test_a_warning_takes_the_place_of_a_warning_and_not_of_weights_that_all_stand_still(
    run_with: Callable[..., Any], share: float
) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    save(run, 10, {"flow": 1.0, "decoder": share})
    rates(run, 1e-3, *[0.0] * 20, first=12)
    finding = run.finding(Rule.NOT_UPDATING)
    grave = share == 1.0
    assert finding.severity is (Severity.CRITICAL if grave else Severity.WARNING)
    assert finding.evidence.startswith("every weight" if grave else "learning rate exactly 0")


def test_weights_that_moved_again_hold_no_warning_back(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    save(run, 10, {"flow": 1.0})
    evaluate(run, *[EXACT] * 4)
    assert run.finding(Rule.NOT_UPDATING).severity is Severity.CRITICAL
    save(run, 50, {"flow": 0.0})
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.severity, finding.evidence[:15]) == (Severity.WARNING, "held-out 'loss'")
    evaluate(run, EXACT + 1.0, first=60)
    rates(run, 1e-3, *[0.0] * 20, first=71)
    finding = run.finding(Rule.NOT_UPDATING)
    assert (finding.severity, finding.step) == (Severity.WARNING, 72)


@pytest.mark.parametrize("first", ["rate", "evaluation"])
def test_it_heals_with_the_last_of_its_kinds(run: Any, first: str) -> None:
    evaluate(run, *[EXACT] * 4)
    rates(run, 1e-3, *[0.0] * 20, first=50)
    assert run.finding(Rule.NOT_UPDATING).evidence.startswith("learning rate exactly 0")
    states = []
    for step in (80, 90):
        told: dict[str, Any] = {"learning_rate": 1e-3}
        if (step == 90) is (first == "rate"):
            told |= {"evaluation": {"loss": 2.0 * EXACT + step}, "evaluated": True}
        run.step(step, **told)
        assert first == "evaluation" or run.finding(Rule.NOT_UPDATING).evidence.startswith("held")
        states.append(run.finding(Rule.NOT_UPDATING).status)
    assert states[0] is (FindingStatus.ACTIVE if first == "rate" else FindingStatus.HEALED)
    assert states[1] is FindingStatus.HEALED


@pytest.mark.parametrize("cause", ["a plan", "weights", "weights of another rank", "nothing"])
def test_a_rate_above_0_does_not_mend_what_else_is_wrong(run: Any, cause: str) -> None:
    if cause == "a plan":
        run.step(1, plan=Plan(300, 1e-5, fresh=True))
    rates(run, 1e-3, *[0.0] * 20, first=2)
    if cause.startswith("weights"):
        still = Weights(25, 20, 5, {"flow": 1.0}, {})
        run.step(25, weights=still, rank=int("another" in cause))
    rates(run, 1e-3, first=30)
    status = run.finding(Rule.NOT_UPDATING).status
    assert (status is FindingStatus.HEALED) is (cause == "nothing")


def test_what_is_wrong_with_the_plan_is_said_first(run: Any) -> None:
    run.step(1, plan=Plan(300, 1e-5, fresh=True))
    assert run.finding(Rule.NOT_UPDATING).evidence == (
        "the planned learning rates add up to 1e-05 over 300 steps, threshold 0.02: no weight can move further than "
        "about that"
    )
    rates(run, 1e-3, *[0.0] * 20, first=2)
    evidence = run.finding(Rule.NOT_UPDATING).evidence
    assert evidence.startswith("the planned learning rates add up to 1e-05")
    assert "about that; learning rate exactly 0 in 20 reports" in evidence
    rates(run, 1e-3, first=22)
    assert run.finding(Rule.NOT_UPDATING).evidence.endswith("move further than about that")


def test_the_newest_plan_counts_and_does_not_talk_over_weights(run: Any) -> None:
    save(run, 10, {"flow": 1.0, "decoder": 0.0})
    run.step(12, plan=Plan(300, 1e-5, fresh=True))
    assert run.finding(Rule.NOT_UPDATING).evidence.startswith("1 of 2 modules")
    save(run, 20, {"flow": 0.0, "decoder": 0.0})
    assert run.finding(Rule.NOT_UPDATING).evidence.startswith("the planned learning rates")
    run.step(22, plan=Plan(300, 1.0, fresh=True))
    save(run, 30, {"flow": 0.0, "decoder": 0.0})
    finding = run.finding(Rule.NOT_UPDATING)
    assert finding.evidence.endswith("healed: every module moved by step 30")


@pytest.mark.parametrize("mended", [(0,), (1,), (0, 1)])
def test_weights_heal_when_every_module_of_every_rank_moved(
    run: Any, mended: tuple[int, ...]
) -> None:
    for rank in (0, 1):
        run.step(11, rank=rank, weights=Weights(10, 0, 10, {"flow": 1.0, "decoder": 0.1}, {}))
    for rank in mended:
        run.step(21, rank=rank, weights=Weights(20, 10, 10, {"flow": 0.9, "decoder": 0.1}, {}))
    status = run.finding(Rule.NOT_UPDATING).status
    assert (status is FindingStatus.HEALED) is (len(mended) == 2)


def test_another_module_that_stands_still_meanwhile_keeps_it(run: Any) -> None:
    save(run, 10, {"flow": 1.0, "decoder": 0.1})
    save(run, 15, {"flow": 0.1, "decoder": 1.0}, updates=5)
    assert run.finding(Rule.NOT_UPDATING).status is FindingStatus.ACTIVE


@pytest.mark.parametrize(("updates", "fires"), [((4, 5), False), ((4, 6), True), ((9,), False)])
def test_weights_must_stand_still_over_ten_updates(
    run: Any, updates: tuple[int, ...], fires: bool
) -> None:
    for number, made in enumerate(updates, start=1):
        save(run, 10 * number, {"flow": 1.0}, updates=made)
    assert run.rules == ([Rule.NOT_UPDATING] if fires else [])


def test_one_update_may_be_enough(run_with: Callable[..., Any]) -> None:
    run = run_with(not_updating=NotUpdating(min_updates=1))
    run.step(2, weights=Weights(1, 0, 1, {"flow": 1.0}, {}))
    evidence = run.finding(Rule.NOT_UPDATING).evidence
    assert evidence == "every weight is bit-identical over 1 updates, from step 0 to 1"


@pytest.mark.parametrize(
    ("number", "names"), [(8, "a, b, c, d, e, f, g, h"), (9, "g, h and 1 more")]
)
def test_eight_modules_are_named(run: Any, number: int, names: str) -> None:
    shares = dict.fromkeys(sorted("abcdefghi"[:number], reverse=True), 1.0)
    save(run, 10, shares | {"moved": 0.5})
    assert run.finding(Rule.NOT_UPDATING).evidence.endswith(names)


def calm(*told: float | None, rank: int = 0, scores: dict[str, float] | None = None) -> Stretch:
    fields: dict[str, Any] = {
        "time": 0.0,
        "rank": rank,
        "losses": {"loss": 1.0},
        "evaluation": scores,
    }
    batch = [
        from_fields(fields | {"now": 1.0 * step, "step": step, "learning_rate": rate})
        for step, rate in enumerate(told, start=100)
    ]
    stretch = stretch_of(batch)
    assert stretch is not None
    return stretch


SCORES = {"loss": 1.0}
FINE = 0.0123456789


@pytest.mark.parametrize(
    ("before", "stretch", "passes"),
    [
        ([], calm(*[FINE] * 4), False),  # never heard of
        ([{"learning_rate": 0.1}], calm(*[FINE] * 4, rank=1), False),
        ([{"learning_rate": 0.1}], calm(*[FINE] * 4), True),
        ([{"learning_rate": 0.1}], calm(FINE, None, None, FINE), True),
        ([{"learning_rate": 0.0}], calm(*[FINE] * 4), False),
        ([{"learning_rate": 0.1}], calm(FINE, 0.0, FINE, FINE), False),
        ([{"evaluation": SCORES}], calm(*[FINE] * 4, scores=SCORES), True),
        ([{"evaluation": SCORES}], calm(*[FINE] * 4), True),
        ([{"evaluation": {"loss": 2.0}}], calm(*[FINE] * 4, scores=SCORES), False),
    ],
)  # fmt: skip
def test_a_calm_stretch_is_passed_over_while_nothing_goes_on(
    before: list[dict[str, Any]], stretch: Stretch, passes: bool
) -> None:
    attempt = Attempt(HealthMode.NOTIFY, lambda: 0.0, Pace(0.0))
    rule = not_updating.NotUpdating(NotUpdating(), attempt)
    for step, fields in enumerate(before):
        rule.feed(
            StepSample(**{"time": 0.0, "now": 0.0, "rank": 0, "step": step, "updates": 1} | fields)
        )
    assert rule.pass_over(stretch) is passes
    if passes:  # the digits of its rates show that no zero behind it is rounded
        for step in range(200, 220):
            rule.feed(StepSample(0.0, 0.0, 0, step, learning_rate=0.0))
        assert rule.active
