"""Rule ConstantComponent."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule
from speech_contract.thresholds import ConstantComponent, OnExceeded
from speech_health.samples import Source


def train(run: Any, last: int, first: int = 1, **losses: Any) -> None:
    for step in range(first, last + 1):
        now = {name: v(step) if callable(v) else v for name, v in losses.items()}
        run.step(step, losses=now)


def fine(step: float) -> float:
    """A loss with all the digits of a float."""
    return 1.0 + math.sin(step) / 3.0


@pytest.mark.parametrize("bound", [10.0, 80.0, 0.123456789012345, -3.0])
def test_a_clamp_from_the_start_is_named_at_the_twentieth_report(run: Any, bound: float) -> None:
    train(run, 19, mel=fine, vq=bound)
    assert run.rules == []
    train(run, 20, 20, mel=fine, vq=bound)
    finding = run.finding(Rule.CONSTANT_COMPONENT)
    assert (finding.step, finding.action) == (1, Action.WARNED)
    assert repr("vq") in finding.evidence
    assert repr(bound) in finding.evidence


def test_a_clamp_that_bites_later(run: Any) -> None:
    train(run, 60, mel=fine, vq=lambda step: min(10.0, fine(step) * step))
    assert run.rules == [Rule.CONSTANT_COMPONENT]


def test_it_heals_when_the_value_moves(run: Any) -> None:
    train(run, 25, mel=fine, vq=10.0)
    train(run, 26, 26, mel=fine, vq=9.5)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    "losses",
    [
        {"loss": 2.123456789012345},
        {"mel": fine, "off": 0.0},
        {"mel": lambda step: round(fine(step), 4), "plateau": 0.6931},
        {"mel": lambda step: math.floor(fine(step) * 128) / 128, "half": 0.69140625},
        {"mel": fine, "lazy": lambda step: fine(step // 16)},
        {"mel": fine, "half": lambda step: 0.69140625 if step > 5 else 0.703125},
    ],
    ids=["nothing beside it", "switched off", "printed", "half", "every 16th step", "half among fine"],
)  # fmt: skip
def test_repeated_for_good_reason(run: Any, losses: dict[str, Any]) -> None:
    train(run, 100, **losses)
    assert run.rules == []


def test_a_rate_of_zero_and_a_late_part_are_left_alone(run: Any) -> None:
    for step in range(1, 60):
        run.step(step, losses={"mel": fine(step), "vq": 10.0}, learning_rate=0.0)
    for step in range(60, 120):
        losses = {"mel": fine(step), "judge/loss": 1.5}
        run.step(step, losses=losses, active_from={"judge": 500})
    assert run.rules == []


def test_the_same_report_again_is_no_repetition(run: Any) -> None:
    for _ in range(50):
        run.step(1, losses={"mel": 0.123456789012345, "vq": 10.0})
    assert run.rules == []


def test_asked_to_stop_it_ends_with_41(run_with: Callable[..., Any]) -> None:
    run = run_with(constant_component=ConstantComponent(3, OnExceeded.STOP))
    train(run, 5, mel=fine, vq=10.0)
    assert run.monitor.decision.exit_code == 41


def test_two_clamps_are_one_finding(run: Any) -> None:
    train(run, 40, mel=fine, vq=10.0, kl=0.5)
    assert run.rules == [Rule.CONSTANT_COMPONENT]
    assert "'vq'" in run.finding(Rule.CONSTANT_COMPONENT).evidence


def test_stdout_alone_is_too_coarse(run: Any) -> None:
    for step in range(1, 60):
        run.step(step, loss=0.69, gradient_norm=fine(step), source=Source.STDOUT)
    assert run.rules == []


def bfloat(step: int) -> float:
    """A noisy loss as bfloat16 holds it: eight bits, each report another value."""
    return math.floor(fine(step) * 256) / 256


def test_a_lively_part_in_half_precision_that_stops_at_its_clamp(run: Any) -> None:
    train(run, 40, mel=bfloat, kl=bfloat)
    train(run, 59, 41, mel=bfloat, kl=5.0)
    assert run.rules == []
    train(run, 60, 60, mel=bfloat, kl=5.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).step == 41


def test_a_plateau_in_half_precision_that_was_settling_is_none(run: Any) -> None:
    def settle(step: int) -> float:
        return math.floor((0.7 + math.exp(-step / 8.0)) * 256) / 256

    train(run, 200, mel=fine, half=settle)
    assert run.rules == []


def test_a_late_part_that_never_moves_once_it_is_on(run: Any) -> None:
    train(run, 30, mel=fine, judge=0.0)
    train(run, 49, 31, mel=fine, judge=2.0)
    assert run.rules == []
    train(run, 50, 50, mel=fine, judge=2.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).step == 31


def test_a_whole_report_that_stands_still_after_it_used_to_change(run: Any) -> None:
    train(run, 40, loss=fine)
    train(run, 59, 41, loss=fine(40) + 1.0)
    assert run.rules == []
    train(run, 60, 60, loss=fine(40) + 1.0)
    assert "steps advance" in run.finding(Rule.CONSTANT_COMPONENT).evidence


@pytest.mark.parametrize(("values", "named"), [(16, True), (15, False)])
def test_a_report_that_changed_sixteen_times_used_to_change(
    run: Any, values: int, named: bool
) -> None:
    train(run, values, loss=fine)
    train(run, values + 20, values + 1, loss=fine(40) + 1.0)
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


def test_no_step_is_lost_while_the_rate_is_zero(run: Any) -> None:
    train(run, 40, loss=fine)
    for step in range(41, 100):
        run.step(step, loss=1.25, learning_rate=0.0)
    assert run.rules == []


@pytest.mark.parametrize("held", [2, 10, 25, 50])
def test_an_average_that_is_repeated_between_is_none(run: Any, held: int) -> None:
    for step in range(1, held * 30):
        run.step(step, loss=fine(step // held), gradient_norm=fine(step // held + 7))
    assert run.alarms == []


def test_a_longer_stand_still_than_ever_is_named_though_values_were_held(run: Any) -> None:
    train(run, 400, mel=fine, lazy=lambda step: fine(step // 16))
    train(run, 446, 401, mel=fine, lazy=fine(999))
    assert run.rules == []
    train(run, 448, 447, mel=fine, lazy=fine(999))
    assert run.rules == [Rule.CONSTANT_COMPONENT]


def stairs(step: int, sign: int) -> float:
    """By one unit of half precision a report, but for every fourth, until it is there."""
    step = min(step, 40)
    return 1.0 + sign * (step - step // 4) / 256


@pytest.mark.parametrize(
    "half",
    [
        lambda step: math.floor((0.7 + 0.05 * max(0, 30 - step)) * 256) / 256,
        lambda step: 0.69140625 + 0.01171875 * (step % 2 if step < 40 else 0),
        lambda step: stairs(step, 1),
        lambda step: stairs(step, -1),
    ],
    ids=["it came down straight", "it went between two values", "up by stairs", "down by stairs"],
)
def test_what_rounding_holds_still_is_none(run: Any, half: Callable[[int], float]) -> None:
    train(run, 150, mel=fine, half=half)
    assert run.rules == []


@pytest.mark.parametrize("bound", [math.nan, math.inf])
def test_a_component_that_is_not_finite_is_left_to_another_rule(run: Any, bound: float) -> None:
    train(run, 60, mel=fine, vq=bound)
    assert Rule.CONSTANT_COMPONENT not in run.rules


@pytest.mark.parametrize(("norm", "named"), [(fine, True), (lambda step: 1.5, False)])
def test_a_norm_that_moves_shows_that_the_inputs_change(
    run: Any, norm: Callable[[int], float], named: bool
) -> None:
    for step in range(1, 21):
        run.step(step, losses={"vq": 0.123456789012345}, gradient_norm=norm(step))
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


def printed(step: int, phase: float = 0.0) -> float:
    """A noisy loss as a printer leaves it, three decimals."""
    return round(fine(step + phase), 3)


def test_a_part_printed_beside_the_whole_loss_is_judged_too(run: Any) -> None:
    for step in range(1, 90):
        parts = {"seg": printed(step, 0.3), "cls": printed(step, 0.7) if step < 40 else 4.0}
        run.step(step, loss=printed(step), parts=parts, source=Source.STDOUT)
    assert "'cls'" in run.finding(Rule.CONSTANT_COMPONENT).evidence


@pytest.mark.parametrize(
    ("bound", "named"), [(100.0, True), (99.999, False)], ids=["six digits", "five"]
)
def test_a_printed_clamp_from_the_start_is_told_by_six_digits(
    run: Any, bound: float, named: bool
) -> None:
    for step in range(1, 60):
        run.step(step, losses={"seg": printed(step), "reg": printed(step, 0.7), "cls": bound})
    assert run.rules == []
    run.step(60, losses={"seg": printed(60), "reg": printed(60, 0.7), "cls": bound})
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


def test_components_that_are_printed_unlike_each_other_tell_nothing_of_rounding(run: Any) -> None:
    for step in range(1, 120):
        losses = {"seg": printed(step), "reg": round(fine(step), 5), "cls": 250.5}
        run.step(step, losses=losses)
    assert run.rules == []


def test_a_clamp_that_is_zero_now_and_then(run: Any) -> None:
    train(run, 60, mel=fine, vq=lambda step: 10.0 if step % 3 else 0.0)
    assert "'vq'" in run.finding(Rule.CONSTANT_COMPONENT).evidence


def test_a_part_that_is_switched_off_for_good_is_let_go(run: Any) -> None:
    train(run, 25, mel=fine, vq=10.0)
    train(run, 46, 26, mel=fine, vq=0.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.HEALED
