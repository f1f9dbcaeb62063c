"""Rule NonFinite."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus, Verdict
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, NonFinite, OnExceeded
from speech_health import non_finite
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.samples import SKIP_SENTENCE, from_fields
from speech_health.stretch import stretch_of

NAN, INF = math.nan, math.inf


def found(run: Any) -> Any:
    finding = run.finding(Rule.NON_FINITE)
    assert finding is not None
    return finding


@pytest.mark.parametrize("value", [NAN, -NAN, INF, -INF])
@pytest.mark.parametrize("component", ["loss", "mel"])
def test_first_bad_component_warns_and_is_named(run: Any, value: float, component: str) -> None:
    run.step(11, losses={"loss": 1.0, "mel": 1.0})
    run.step(12, losses={"loss": 1.0, "mel": 1.0, component: value})
    finding = found(run)
    assert (finding.severity, finding.step, finding.action) == (
        Severity.WARNING,
        12,
        Action.WARNED,
    )
    assert repr(component) in finding.evidence
    assert "step 12" in finding.evidence
    assert run.monitor.decision is None


def test_over_budget_ends_a_strangers_run_with_40(run: Any) -> None:
    for step in range(1, 4):
        run.step(step, loss=NAN)
    assert run.monitor.decision is None
    run.step(4, loss=NAN)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next, decision.want_stacks) == (40, OnExceeded.STOP, False)
    assert decision.finding.action is Action.STOPPED
    assert decision.finding.step == 1
    assert "budget 3" in decision.finding.evidence
    assert run.monitor.verdict is Verdict.CRITICAL


@pytest.mark.parametrize(("window", "reports", "told", "ends"), [
    (200, [(n, NAN, None) for n in (500, 1000, 1500)], "3 ~ in a row, budget 3", False),
    (200, [(n, NAN, None) for n in (500, 1000, 1500, 2000)], "4 ~ in a row, budget 3", True),
    (200, [(n, 1.0 if n % 30 else NAN, None) for n in range(1, 91)], "3 ~ in the last 200, budget 3", False),
    (200, [(n, 1.0 if n % 30 else NAN, None) for n in range(1, 121)], "4 ~ in the last 200, budget 3", True),
    (90, [(n, 1.0 if n % 30 else NAN, None) for n in range(1, 121)], "3 ~ in the last 90, budget 3", False),
    (1000, [(n, NAN if n % 2 else 1.0, None) for n in range(1, 20)], "10 ~ in the last 1000, budget 10", False),
    (1000, [(n, NAN if n % 2 else 1.0, None) for n in range(1, 22)], "11 ~ in the last 1000, budget 10", True),
    (1000, [(n, NAN, None) for n in range(1, 5)], "4 ~ in a row, budget 3", True),
    # A bar drawn again is the same step, bad or not.
    (200, [(n, NAN, None) for n in (1, 1, 1, 2, 2, 2)], "2 ~ in the last 200, budget 3", False),
    (200, [(1, NAN, None), (2, NAN, None), *[(3, 1.0, None)] * 300, (4, NAN, None)], "3 ~ in the last 200", False),
    # A counter of bad steps trails the values by one step; what it leaves out was finite.
    (200, [(10, NAN, 0), (11, 1.0, 1)], "1 ~ in the last 200, budget 3", False),
    (200, [(10, 1.0, 0), (20, 1.0, 7)], "7 ~ in the last 200, budget 3", True),
    (1000, [(n, 1.0, n // 5) for n in range(10, 60, 10)], "10 ~ in the last 1000, budget 10", False),
    (1000, [(50, 1.0, 0), (60, 1.0, 9)], "9 ~ in the last 1000, budget 10", False),
    (1000, [(50, 1.0, 0), (60, 1.0, 10)], "10 ~ in a row, budget 3", True),
    (1000, [(10, 1.0, 0), (11, 1.0, 1), (12, 1.0, 1), (13, 1.0, 2), (14, 1.0, 3), (15, 1.0, 4)], "4 ~ in the l", False),
    (1000, [(10, 1.0, 2), (11, 1.0, 2), (13, 1.0, 4)], "4 ~ in the last 1000, budget 10", False),
    (1000, [(10, NAN, 0), (15, 1.0, 1), (16, 1.0, 2), (17, 1.0, 3), (18, 1.0, 4)], "4 ~ in the last 1000", False),
    (1000, [(10, None, None), (14, 1.0, 4)], "4 ~ in a row, budget 3", True),
    # At a save it speaks of this step already.
    (1000, [(10, 1.0, 0), (11, 1.0, 2), (12, 1.0, 2), (13, 1.0, 4)], "4 ~ in a row, budget 3", True),
    # It may count reports, not steps.
    (50, [(50 * n, NAN, n) for n in range(3)], "3 ~ in a row, budget 3", False),
    (50, [(50 * n, NAN, n) for n in range(4)], "4 ~ in a row, budget 3", True),
    # After steps went back we go on counting.
    (200, [(n, NAN, None) for n in (7, 8, 3)], "3 ~ in the last 200, budget 3", False),
    (3, [(n, NAN, None) for n in (7, 8, 3, 2)], "4 ~ in a row, budget 3", True),
])  # fmt: skip
def test_bad_steps_are_counted_in_a_row_and_in_the_window(
    run_with: Callable[..., Any], window: int, reports: list[Any], told: str, ends: bool
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=window))
    for step, loss, counter in reports:
        assert run.monitor.decision is None
        run.step(step, loss=loss, non_finite_steps=counter)
    assert told.replace("~", "non-finite step(s)") in found(run).evidence
    assert (run.monitor.decision is not None) is ends


def gated(run: Any, step: int, **fields: Any) -> None:
    run.step(step, gated=True, **fields)


def test_gated_steps_are_told_and_the_engine_acts(run: Any) -> None:
    gated(run, 10, loss=1.0, non_finite_steps=0)
    gated(run, 11, non_finite_steps=1, bad_step=10, bad_component="generator/kl", bad_module="flow")
    finding = found(run)
    assert (finding.severity, finding.action, finding.step) == (
        Severity.WARNING,
        Action.GATED,
        10,
    )
    assert "generator/kl" in finding.evidence
    assert "flow" in finding.evidence
    for step in range(12, 30):
        gated(run, step, non_finite_steps=step - 10, bad_step=step - 1)
    assert found(run).severity is Severity.CRITICAL
    assert found(run).action is Action.GATED
    assert found(run).step == 10
    assert run.monitor.decision is None


def test_roll_back_restores_the_budget_and_heals_after_the_window(run: Any) -> None:
    for step in range(101, 106):
        gated(run, step, non_finite_steps=step - 101, bad_step=step - 1, rollbacks=0)
    assert found(run).severity is Severity.CRITICAL
    gated(run, 51, non_finite_steps=4, rollbacks=1)
    assert (found(run).severity, found(run).action) == (Severity.WARNING, Action.ROLLED_BACK)
    assert run.monitor.verdict is Verdict.WARNING
    for step in range(52, 251):
        gated(run, step, non_finite_steps=4, rollbacks=1)
        assert found(run).status is FindingStatus.ACTIVE
    gated(run, 251, non_finite_steps=4, rollbacks=1)
    assert (found(run).status, found(run).step) == (FindingStatus.HEALED, 101)
    assert run.monitor.verdict is Verdict.HEALTHY


@pytest.mark.parametrize(("counters", "told"), [
    ((5,), "1 non-finite step(s) in the last 1000"),
    ((5, 6, 7), "3 non-finite step(s) in the last 1000"),
    ((5, 6, 7, 8), "4 non-finite step(s) in a row, budget 3"),
    ((5, 5, 6, 7, 8), "4 non-finite step(s) in the last 1000"),  # one between was finite
])  # fmt: skip
def test_after_a_roll_back_the_budget_is_whole_again(
    run_with: Callable[..., Any], counters: tuple[int, ...], told: str
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=1000))
    gated(run, 100, non_finite_steps=4, bad_step=99, rollbacks=0)
    gated(run, 50, rollbacks=1)
    for step, counter in enumerate(counters, 51):
        gated(run, step, non_finite_steps=counter, bad_step=step - 1, rollbacks=1)
    assert told in found(run).evidence
    assert found(run).severity is (Severity.CRITICAL if "in a row" in told else Severity.WARNING)


def test_a_second_overflow_is_told_with_the_first(run: Any) -> None:
    run.step(1, loss=1.0, gradient_norm=INF)
    run.step(2, loss=1.1, gradient_norm=INF)
    assert "2 report(s) in a row up to step 2" in found(run).evidence


FLAT = [2.0] * 5


@pytest.mark.parametrize(("before", "loss", "told"), [
    (FLAT, 2000.0, "beside a loss of 2e+03, 1e+03 times its median: an explosion"),
    (FLAT, 1999.0, "a loss scaler's overflow"),
    (FLAT, None, "a loss scaler's overflow"),
    (FLAT, INF, "loss 'loss' is inf at"),
    (FLAT[1:], 1e9, "a loss scaler's overflow"),  # no level yet
    ([-1.0] * 5, -2e22, "beside a loss of -2e+22, 2e+22 times its median"),
    ([0.0] * 5, 5.0, "a loss scaler's overflow"),
    ([1.0] * 13 + [1000.0] * 13, 6e5, "a loss scaler's overflow"),  # of the last 25
])  # fmt: skip
def test_an_infinite_norm_beside_a_loss_beyond_all_bounds_is_an_explosion(
    run: Any, before: list[float], loss: float | None, told: str
) -> None:
    for step, sound in enumerate(before, start=1):
        run.step(step, loss=sound, gradient_norm=0.5)
    run.step(31, loss=loss, gradient_norm=INF)
    assert told in found(run).evidence
    aside = told == "a loss scaler's overflow"
    assert found(run).severity is (Severity.INFO if aside else Severity.WARNING)


def test_a_bad_report_printed_again_says_nothing_new(run: Any) -> None:
    run.say(1, losses={"loss": NAN, "mel": 1.0})
    run.say(1, losses={"loss": 1.0, "mel": NAN})
    assert "loss 'loss' is nan" in found(run).evidence


def test_an_overflow_printed_again_is_the_same(run: Any) -> None:
    for _ in range(50):
        run.say(1, loss=1.0, gradient_norm=INF)
    assert "1 report(s) in a row up to step 1" in found(run).evidence
    assert run.monitor.non_finite_steps == 0


@pytest.mark.parametrize(("fields", "told"), [
    ({"losses": {"loss": 1.0, "kl": NAN}, "bad_module": "flow"}, "loss 'kl' is nan (first bad module: flow) at step 9"),
    ({"loss": 1.0, "gradient_norm": NAN, "bad_step": 8}, "gradient norm is nan at step 9"),
    ({"loss": 0.0, "gradient_norm": NAN}, "a NaN in disguise) at step 9"),
    ({"non_finite_steps": 1, "bad_step": 8}, "loss or gradient not finite at step 8 on rank 0; 1 non"),
    ({"non_finite_steps": 1, "bad_component": "kl"}, "loss 'kl' not finite at step 9 on rank 0; 1 non"),
])  # fmt: skip
def test_what_was_bad_is_named_as_well_as_it_is_known(
    run: Any, fields: dict[str, Any], told: str
) -> None:
    run.step(8, loss=1.0, gated=True)
    run.step(9, gated=True, **fields)
    assert told in found(run).evidence
    assert run.monitor.non_finite_steps == 1


@pytest.mark.parametrize(("fields", "step"), [
    ({}, 50), ({"bad_step": 99}, 99), ({"non_finite_steps": 4}, 50),
])  # fmt: skip
def test_a_roll_back_is_told_once_by_the_first_rank(
    run: Any, fields: dict[str, int], step: int
) -> None:
    for rank in (0, 1):
        gated(run, 100, rank=rank)
    gated(run, 50, rollbacks=1, **fields)
    gated(run, 50, rollbacks=1, rank=1, **fields)
    assert found(run).evidence == "roll-back 1 of at most 2: non-finite steps"
    assert (found(run).step, found(run).rank) == (step, 0)
    assert run.monitor.non_finite_steps == 2 * fields.get("non_finite_steps", 0)


def test_after_a_roll_back_that_healed_the_next_one_is_told(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(window_steps=5))
    for step, rollbacks in ((9, 0), (4, 1), (9, 1), (4, 2)):
        gated(run, step, rollbacks=rollbacks)
    assert found(run).evidence == "roll-back 2 of at most 2: non-finite steps"


def test_it_heals_when_the_last_rank_was_sound_for_the_window(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(window_steps=10))
    for step in range(1, 17):
        assert run.finding(Rule.NON_FINITE) is None or found(run).status is FindingStatus.ACTIVE
        run.step(step, loss=NAN if step == 1 else 1.0)
        run.step(step, rank=1, loss=1.0, gradient_norm=INF if step in (6, 8) else 1.0)
        run.step(step, rank=2, loss=1.0)
    assert found(run).status is FindingStatus.HEALED
    assert found(run).severity is Severity.WARNING  # the overflows did not make it an aside
    assert "finite for 10 steps up to step 16" in found(run).evidence
    run.step(17, rank=1, loss=1.0, gradient_norm=INF)  # an overflow is no return of it
    assert (found(run).status, found(run).severity) == (FindingStatus.ACTIVE, Severity.INFO)
    assert found(run).step == 17


def test_what_stdout_told_heals_by_what_the_reporter_says(run_with: Callable[..., Any]) -> None:
    run = run_with(non_finite=NonFinite(window_steps=10))
    run.say(1, loss=NAN)
    for step in range(1, 12):
        assert found(run).status is FindingStatus.ACTIVE
        run.step(step, loss=1.0)
    assert found(run).status is FindingStatus.HEALED


def test_an_explosion_counts_and_no_other_component_is_told_as_one(run: Any) -> None:
    for step in range(1, 6):
        run.step(step, loss=0.05, gradient_norm=0.5)
    run.step(6, losses={"loss": 5.3e22, "mel": NAN})
    assert "explosion" not in found(run).evidence
    for step in range(7, 10):
        run.step(step, loss=5.3e22, gradient_norm=INF)
    assert run.monitor.decision.exit_code == 40


@pytest.mark.parametrize(("form", "between", "counts_at"), [
    ("", {"loss": 1.0, "gradient_norm": 1.0}, 30),
    ("", {"loss": 1.0}, 21),  # shows nothing of the gradient
    (SKIP_SENTENCE, {"loss": 1.0}, 30),  # a sentence would have been printed
    (SKIP_SENTENCE, {}, 21),
])  # fmt: skip
def test_from_the_twentieth_in_a_row_an_overflow_is_a_bad_step(
    run: Any, form: str, between: dict[str, float], counts_at: int
) -> None:
    for step in range(1, counts_at):
        bad = {"loss": 1.0, "gradient_norm": INF, "form": form}
        run.step(step, **(between if step == 10 else bad))
    assert (found(run).severity, run.monitor.non_finite_steps) == (Severity.INFO, 0)
    run.step(counts_at, loss=1.0, gradient_norm=INF, form=form)
    assert (found(run).severity, run.monitor.non_finite_steps) == (Severity.WARNING, 1)


@pytest.mark.parametrize("counted", [{"gated": True}, {"non_finite_steps": 0}])
def test_a_bad_norm_counts_at_once_where_bad_steps_are_counted(
    run: Any, counted: dict[str, Any]
) -> None:
    run.step(1, loss=1.0, gradient_norm=NAN, **counted)
    assert found(run).severity is Severity.WARNING


@pytest.mark.parametrize(("bad", "code", "told"), [
    ((), 40, "the trainer ended with exit code 40: no report shows it"),
    ((1,), 40, "exit code 40: no report shows it"),  # healed long ago
    ((30,), 40, "exit code 40: loss 'loss' is nan at step 30"),
    ((29, 30), 0, "the run ended on 2 non-finite report(s): loss 'loss' is nan"),
    ((30,), 1, "loss 'loss' is nan at step 30"),
])  # fmt: skip
def test_how_a_run_ended_is_told_with_what_was_seen(
    run_with: Callable[..., Any], bad: tuple[int, ...], code: int, told: str
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=10))
    for step in range(1, 31):
        run.step(step, loss=NAN if step in bad else 1.0)
    run.monitor.finish(run.now, code)
    assert told in found(run).evidence
    assert (found(run).action is Action.STOPPED) is (code != 1)
    assert (run.monitor.decision is not None) is (code == 0)  # with 40 it ended by itself


@pytest.mark.parametrize(("asked", "mode", "gates", "severity", "action"), [
    (OnExceeded.STOP, HealthMode.NOTIFY, True, Severity.CRITICAL, Action.WOULD_STOP),
    (OnExceeded.ROLLBACK, HealthMode.NOTIFY, True, Severity.CRITICAL, Action.WOULD_ROLL_BACK),
    (OnExceeded.ROLLBACK, HealthMode.ENFORCE, True, Severity.CRITICAL, Action.GATED),
    (OnExceeded.WARN, HealthMode.NOTIFY, True, Severity.WARNING, Action.GATED),
    (OnExceeded.ROLLBACK, HealthMode.NOTIFY, False, Severity.CRITICAL, Action.WOULD_STOP),
    (OnExceeded.WARN, HealthMode.ENFORCE, False, Severity.WARNING, Action.WARNED),
])  # fmt: skip
def test_what_is_done_about_it_or_would_be(
    run_with: Callable[..., Any],
    asked: OnExceeded,
    mode: HealthMode,
    gates: bool,
    severity: Severity,
    action: Action,
) -> None:
    run = run_with(mode=mode, non_finite=NonFinite(on_exceeded=asked))
    for step in range(1, 50):
        run.step(step, loss=NAN, gated=gates)
    run.monitor.finish(run.now, 0 if gates else 1)  # with an engine it ended as that wanted
    assert (found(run).severity, found(run).action) == (severity, action)
    assert run.monitor.decision is None


def evaluate(run: Any, step: int, **scores: float) -> None:
    run.step(step, loss=1.0, evaluation=scores, evaluated=True)


@pytest.mark.parametrize(("name", "severity", "action"), [
    ("eval_loss", Severity.WARNING, Action.WARNED), ("auc", Severity.INFO, Action.NONE),
])  # fmt: skip
def test_held_out_scores_that_are_not_finite_are_told_and_heal_by_themselves(
    run_with: Callable[..., Any], name: str, severity: Severity, action: Action
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=3))
    scores = {name: NAN}
    for step in range(1, 6):
        run.step(step, loss=1.0, evaluation=scores)  # one, told again and again
        assert run.rules == []
    evaluate(run, 6, **scores)
    finding = found(run)
    assert (finding.severity, finding.action, finding.step) == (severity, action, 1)
    assert "in 2 evaluations in a row" in finding.evidence
    for step in range(7, 20):
        run.step(step, loss=1.0)
    assert found(run).status is FindingStatus.ACTIVE  # sound training says nothing of it
    evaluate(run, 20, **{name: 1.0})
    assert found(run).status is FindingStatus.HEALED
    for step in (21, 22):
        evaluate(run, step, **{name: NAN})
    assert (found(run).status, found(run).step) == (FindingStatus.ACTIVE, 21)


@pytest.mark.parametrize(("name", "fields"), [
    ("eval_loss", {"loss": NAN}), ("auc", {"loss": 1.0, "gradient_norm": INF}),
])  # fmt: skip
def test_of_training_that_is_not_finite_no_evaluation_speaks(
    run_with: Callable[..., Any], name: str, fields: dict[str, float]
) -> None:
    run = run_with(non_finite=NonFinite(window_steps=3))
    for step in (1, 2):
        evaluate(run, step, **{name: NAN})
    run.step(3, **fields)
    assert "held-out" not in found(run).evidence
    for step, score in ((4, NAN), (5, 1.0)):
        evaluate(run, step, **{name: score})
        assert "held-out" not in found(run).evidence
        assert found(run).status is FindingStatus.ACTIVE
    run.step(6, loss=1.0)
    assert found(run).status is FindingStatus.HEALED


def test_what_is_passed_over_counts_for_the_level() -> None:
    attempt = Attempt(HealthMode.NOTIFY, lambda: 0.0, Pace(0.0))
    detector = non_finite.NonFinite(NonFinite(), attempt)
    base = {"time": 0.0, "now": 0.0, "rank": 0, "gradient_norm": 1.0}
    samples = [from_fields(base | {"step": n, "losses": {"loss": 1.0}}) for n in range(1, 20)]
    calm, more = stretch_of(samples[:5]), stretch_of(samples[5:])
    assert calm is not None
    assert more is not None
    assert detector.pass_over(calm)
    assert detector.finding is None
    detector.feed(from_fields(base | {"step": 6, "losses": {"loss": 1e9}, "gradient_norm": INF}))
    assert detector.finding is not None
    assert "an explosion" in detector.finding.evidence
    assert not detector.pass_over(more)  # they may heal it
