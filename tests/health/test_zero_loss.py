"""Rule ZeroLoss."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.thresholds import HealthMode, OnExceeded, ZeroLoss
from speech_health.samples import from_fields


def test_fires_at_the_twentieth_zero_and_not_before(run: Any) -> None:
    for step in range(1, 20):
        run.step(step, loss=0.0)
    assert run.rules == []
    run.step(20, loss=-0.0)
    decision = run.monitor.decision
    assert (decision.exit_code, decision.next) == (41, OnExceeded.STOP)
    assert (decision.finding.rule, decision.finding.step) == (Rule.ZERO_LOSS, 1)
    assert "20 report(s) in a row, steps 1 to 20" in decision.finding.evidence
    assert decision.finding.remedy


@pytest.mark.parametrize("loss", [1e-9, -1e-9, 5e-324, 0.1])
def test_a_tiny_loss_is_not_zero(run: Any, loss: float) -> None:
    for step in range(1, 200):
        run.step(step, loss=loss)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_reports_without_a_loss_say_nothing(run: Any) -> None:
    for step in range(1, 191):
        run.step(step, loss=0.0 if step % 10 == 0 else None)
    assert run.rules == []
    run.step(200, loss=0.0)
    assert run.rules == [Rule.ZERO_LOSS]


def test_the_same_step_again_is_no_report(run: Any) -> None:
    for _ in range(50):
        run.step(1, loss=0.0)
    assert run.rules == []


def test_one_sound_loss_starts_over(run: Any) -> None:
    for step in range(1, 100):
        run.step(step, loss=0.5 if step % 20 == 0 else 0.0)
    assert run.rules == []


@pytest.mark.parametrize("name", ["total", "mel"])
def test_a_component_at_zero_is_nobodys_fault(run: Any, name: str) -> None:
    for step in range(1, 50):
        run.step(step, losses={"adversarial": 0.0, name: 1.0})
    assert run.rules == []


def test_without_a_total_all_components_must_be_zero(run: Any) -> None:
    for step in range(1, 21):
        run.step(step, losses={"adversarial": 0.0, "mel": 0.0})
    assert run.rules == [Rule.ZERO_LOSS]


def test_the_stage_that_has_the_loss_acquits_the_others(run: Any) -> None:
    for step in range(1, 50):
        run.step(step, rank=1, loss=2.0)
        run.step(step, rank=0, loss=0.0)
    assert run.rules == []


def test_all_ranks_at_zero_fire_at_the_same_bound(run: Any) -> None:
    for step in range(1, 21):
        assert run.rules == []
        run.step(step, rank=0, loss=0.0)
        run.step(step, rank=1, loss=0.0)
    assert run.monitor.decision.exit_code == 41


def test_a_printed_zero_with_a_gradient_was_rounded(run: Any) -> None:
    for step in range(1, 50):
        run.say(step, loss=0.0, gradient_norm=0.02)
    assert run.rules == []


@pytest.mark.parametrize("epochs", [3, 5])
def test_few_epochs_of_zero_are_convicted_at_exit(run: Any, epochs: int) -> None:
    for step in range(1, epochs + 1):
        run.say(step, loss=0.0)
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision.exit_code == 41
    assert f"{epochs} report(s)" in run.monitor.decision.finding.evidence


@pytest.mark.parametrize("sound", [[0.23], [0.23, 0.21], [0.23, 0.0, 0.19]])
def test_a_run_that_ends_on_little_but_zeros_is_convicted(run: Any, sound: list[float]) -> None:
    for step, loss in enumerate([*sound, *[0.0] * 12], start=1):
        run.say(step, loss=loss)
    assert run.monitor.decision is None
    run.monitor.finish(run.now, 0)
    assert run.monitor.decision.exit_code == 41
    assert run.monitor.decision.finding.step == len(sound) + 1


@pytest.mark.parametrize(
    ("losses", "exit_code"),
    [
        ([0.0, 0.0], 0),
        ([0.0] * 5, 1),
        ([0.1, 0.0, 0.0, 0.0], 0),
        ([], 0),
        ([0.2, *[0.0] * 9], 0),
        ([*[0.2] * 3, *[0.0] * 11], 0),
        ([0.2, *[0.0] * 12, 0.2], 0),
        ([0.2, *[0.0] * 12], 1),
    ],
    ids=[
        "two reports",
        "crashed",
        "one sound",
        "none",
        "nine to the end",
        "less than four in five",
        "not to the end",
        "crashed on zeros",
    ],
)
def test_at_exit_not_convicted(run: Any, losses: list[float], exit_code: int) -> None:
    for step, loss in enumerate(losses, start=1):
        run.say(step, loss=loss)
    run.monitor.finish(run.now, exit_code)
    assert run.monitor.decision is None


def test_stdout_is_superseded_once_the_reporter_carries_losses(run: Any) -> None:
    run.say(1, loss=3.0)
    for step in range(1, 21):
        run.step(step, loss=0.0)
        run.say(step, loss=3.0)
    assert run.monitor.decision.finding.rule is Rule.ZERO_LOSS


def test_warning_heals_with_the_first_sound_loss(run_with: Callable[..., Any]) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=3, on_exceeded=OnExceeded.WARN))
    for step in range(1, 5):
        run.step(step, loss=0.0)
    assert run.finding(Rule.ZERO_LOSS).severity is Severity.WARNING
    run.step(5, loss=0.3)
    healed = run.finding(Rule.ZERO_LOSS)
    assert (healed.status, healed.step) == (FindingStatus.HEALED, 1)
    assert "0.3 at step 5" in healed.evidence


def test_notify_judges_without_acting(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.NOTIFY)
    for step in range(1, 30):
        run.step(step, loss=0.0)
    assert run.monitor.decision is None
    assert run.finding(Rule.ZERO_LOSS).action is Action.WOULD_STOP


def test_nan_is_no_zero(run: Any) -> None:
    for step in range(1, 30):
        run.step(step, loss=math.nan)
    assert run.rules == [Rule.NON_FINITE]


def test_every_second_batch_lost_is_a_warning_at_the_twentieth_zero(run: Any) -> None:
    for step in range(1, 39):
        run.step(step, loss=0.0 if step % 2 else 2.5)
    assert run.rules == []
    run.step(39, loss=0.0)
    finding = run.finding(Rule.ZERO_LOSS)
    assert (finding.severity, finding.action) == (Severity.WARNING, Action.WARNED)
    assert "in 20 of the last 39 reports" in finding.evidence
    assert run.monitor.decision is None


def test_the_comb_heals_when_half_of_its_teeth_are_gone(run: Any) -> None:
    for step in range(1, 61):
        run.step(step, loss=0.0 if step % 2 else 2.5)
    for step in range(61, 77):
        run.step(step, loss=2.5)
    assert run.finding(Rule.ZERO_LOSS).status is FindingStatus.ACTIVE
    for step in range(77, 81):
        run.step(step, loss=2.5)
    assert run.finding(Rule.ZERO_LOSS).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("for_steps", "losses", "window"),
    [
        (20, [0.0] + [2.5] * 2 + [0.0, 2.5] * 18 + [0.0], 40),
        (20, [0.0] + [2.5] * 3 + [0.0, 2.5] * 19 + [0.0], 40),  # the first has left it again
        (20, ([0.0] * 4 + [2.5]) * 5, 25),  # five rows that ended
        (4, [0.0, 0.0, 2.5] * 2, 6),  # two of them, at least
    ],
)
def test_a_comb_has_its_zeros_in_twice_as_many_reports_and_a_row_for_every_four_of_them(
    run_with: Callable[..., Any], for_steps: int, losses: list[float], window: int
) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=for_steps))
    for step, loss in enumerate(losses, start=1):
        assert run.rules == []
        run.step(step, loss=loss)
    assert (
        f"in {for_steps} of the last {window} reports up to step {len(losses)}"
        in run.finding(Rule.ZERO_LOSS).evidence
    )


def test_zeros_in_a_row_after_a_comb_heal_with_the_first_sound_loss(
    run_with: Callable[..., Any],
) -> None:
    run = run_with(zero_loss=ZeroLoss(for_steps=4, on_exceeded=OnExceeded.WARN))
    seen = []
    for step, loss in enumerate([0, 0, 2, 0, 0, 2, 2, 2, 2, 2, 0, 0, 0, 0, 2], start=1):
        run.step(step, loss=float(loss))
        finding = run.finding(Rule.ZERO_LOSS)
        seen.append("" if finding is None else finding.status.value)
    assert seen == [""] * 5 + ["Active"] * 4 + ["Healed"] * 4 + ["Active", "Healed"]


def calm(run: Any, first: int, reports: int) -> None:
    """Sound reports in a batch, as from a file."""
    told = {"time": 0.0, "rank": 0}
    batch = [
        from_fields({**told, "now": float(step), "step": step, "losses": {"loss": 2.0 + step / 99}})
        for step in range(first, first + reports)
    ]
    list(run.monitor.feed_batch(batch))


def test_sound_reports_of_a_batch_acquit_at_exit(run: Any) -> None:
    run.step(1, loss=2.0)
    run.step(2, loss=2.1)
    calm(run, 3, 4)
    for step in range(7, 10):
        run.step(step, loss=0.0)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_sound_reports_of_a_batch_lie_in_the_window(run: Any) -> None:
    calm(run, 1, 5)
    calm(run, 6, 5)
    for step, loss in enumerate(([0.0] * 4 + [2.5]) * 5, start=11):
        assert run.rules == []
        run.step(step, loss=loss)
    assert "in 20 of the last 35 reports" in run.finding(Rule.ZERO_LOSS).evidence


def test_zeros_before_a_batch_stay_in_the_window(run: Any) -> None:
    for first in range(1, 41, 8):
        assert run.rules == []
        for step in range(first, first + 4):
            run.step(step, loss=0.0)
        calm(run, first + 4, 4)
    assert "in 20 of the last 37 reports" in run.finding(Rule.ZERO_LOSS).evidence


def test_one_batch_of_zeros_in_three_is_none(run: Any) -> None:
    for step in range(1, 400):
        run.step(step, loss=2.5 if step % 3 else 0.0)
    assert run.alarms == []


def test_a_tiny_loss_printed_with_four_decimals_is_not_zero(run: Any) -> None:
    for step in range(1, 200):
        run.say(step, loss=round(2.5 * math.exp(-step / 10.0), 4))
    assert run.rules == []


def test_zeros_on_stdout_after_a_large_loss_are(run: Any) -> None:
    for step in range(1, 50):
        run.say(step, loss=2.5 + step / 100 if step < 30 else 0.0)
    assert run.rules == [Rule.ZERO_LOSS]


def test_a_tiny_loss_on_stdout_that_ends_without_a_gradient_is(run: Any) -> None:
    for step in range(1, 21):
        run.say(step, loss=round(0.0004 + step % 3 / 1e4, 4), gradient_norm=0.1)
    for step in range(21, 41):
        run.say(step, loss=0.0, gradient_norm=0.0)
    assert run.rules == [Rule.ZERO_LOSS]


def test_a_gradient_that_moves_beside_an_exact_zero_acquits(run: Any) -> None:
    for step in range(1, 60):
        run.step(step, loss=0.0, gradient_norm=1.2 + step / 100)
    run.monitor.finish(run.now, 0)
    assert run.rules == []


def test_a_gradient_that_nobody_computes_any_more_is_no_witness(run: Any) -> None:
    for step in range(1, 60):
        run.step(step, loss=2.0 if step < 20 else 0.0, gradient_norm=1.2 + min(step, 20) / 100)
    assert run.monitor.decision.finding.rule is Rule.ZERO_LOSS


def test_without_a_gradient_any_more_it_is_stopped(run: Any) -> None:
    for step in range(1, 90):
        run.step(step, loss=0.0, gradient_norm=1.2 if step < 30 else 0.0, learning_rate=0.0)
    assert run.monitor.decision.finding.rule is Rule.ZERO_LOSS


def test_a_reward_acquits_whoever_reports_it(run: Any) -> None:
    for step in range(1, 60):
        run.step(step, loss=0.0, reward=0.3 + step / 300)
    assert run.rules == []


@pytest.mark.parametrize(
    ("beside", "told"),
    [({"reward": 0.0}, True), ({"reward_spread": 0.0}, True), ({"reward_spread": 0.5}, False)],
)
def test_a_reward_of_0_or_that_nothing_tells_apart_acquits_nobody(
    run: Any, beside: dict[str, float], told: bool
) -> None:
    for step in range(1, 21):
        run.step(step, loss=0.0, **beside)
    assert (Rule.ZERO_LOSS in run.rules) is told


def test_a_repeated_step_is_a_new_report_when_its_reader_says_so(run: Any) -> None:
    for report in range(1, 21):
        run.say(400, loss=0.0, report=report)
        run.say(400, loss=0.0, report=report)
    assert "in 20 report(s) in a row" in run.finding(Rule.ZERO_LOSS).evidence


@pytest.mark.parametrize(
    ("last", "zero"),
    [(0.0004, False), (0.001, False), (0.0011, True), (0.00042, True), (-0.001, False)],
)
def test_zeros_that_four_decimals_may_hide_follow_a_tiny_loss(
    run: Any, last: float, zero: bool
) -> None:
    run.say(1, loss=last)
    for step in range(2, 22):
        run.say(step, loss=0.0)
    assert (Rule.ZERO_LOSS in run.rules) is zero
