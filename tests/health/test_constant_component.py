"""Rule ConstantComponent."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule
from speech_contract.thresholds import ConstantComponent, HealthMode, OnExceeded
from speech_health import constant_component
from speech_health.detector import Attempt
from speech_health.samples import Source, StepSample, from_fields
from speech_health.stretch import stretch_of


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


def test_of_a_clamp_that_bites_later_a_report_over_again_does_not_count(run: Any) -> None:
    # The first five move, and of the twenty that stand one brings nothing else.
    for step in range(1, 26):
        vq = fine(step) if step < 6 else 4.0
        run.step(step, losses={"mel": fine(9 if step == 10 else step), "vq": vq})
    assert run.rules == []
    train(run, 26, 26, mel=fine, vq=4.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).step == 6


def off(step: float) -> float:
    """As printed, and far from a guess."""
    return round(3.0 * fine(step), 4)


@pytest.mark.parametrize("guess", [0.6931, 1.3863, 0.6931471824645996, 6.9315])
def test_a_loss_that_comes_to_stand_at_a_guess_is_named_at_the_twentieth_report(
    run: Any, guess: float
) -> None:
    train(run, 8, loss=off)
    train(run, 27, 9, loss=guess)
    assert run.rules == []
    train(run, 28, 28, loss=guess)
    finding = run.finding(Rule.CONSTANT_COMPONENT)
    assert (finding.step, finding.action) == (9, Action.WARNED)
    assert f"{guess!r} (ln " in finding.evidence
    assert "a guess" in finding.evidence


@pytest.mark.parametrize(
    ("before", "then"),
    [
        (off, 0.693),  # too few digits
        (off, 0.6935),  # a level like any other
        (lambda step: round(0.6931 + 0.0002 * math.sin(step), 4), 0.6931),  # began there: a preference loss
        (lambda step: 0.7138 if step == 1 else 0.6931, 0.6931),  # by less than 3 % off
        (lambda step: 6.8 if step == 1 else 6.9315, 6.9315),
    ],
)  # fmt: skip
def test_a_printed_loss_that_stands_elsewhere_is_left_alone(
    run: Any, before: Any, then: float
) -> None:
    train(run, 8, loss=before)
    train(run, 58, 9, loss=then)
    assert run.rules == []


def test_long_after_it_came_to_a_guess_it_is_no_news(run: Any) -> None:
    train(run, 8, loss=off)
    # The way there is forgotten.
    train(run, 40, 9, loss=lambda step: 0.6931 if step % 2 else 0.6932)
    train(run, 80, 41, loss=0.6931)
    assert run.rules == []


def test_it_heals_when_the_value_moves(run: Any) -> None:
    train(run, 25, mel=fine, vq=10.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.ACTIVE
    train(run, 26, 26, mel=fine, vq=9.5)
    finding = run.finding(Rule.CONSTANT_COMPONENT)
    assert finding.status is FindingStatus.HEALED
    assert "'vq' is 9.5 at step 26" in finding.evidence


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
    """For good is longer than 20 reports in a row."""
    train(run, 25, mel=fine, vq=10.0)
    train(run, 45, 26, mel=fine, vq=0.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.ACTIVE
    train(run, 46, 46, mel=fine, vq=0.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.HEALED


@pytest.mark.parametrize("before", [0, 1], ids=["the first value", "a later one"])
def test_twenty_zeros_after_one_report_of_a_value_do_not_end_it(run: Any, before: int) -> None:
    train(run, before, mel=fine, vq=fine)
    train(run, before + 1, before + 1, mel=fine, vq=0.123456789012345)
    train(run, before + 21, before + 2, mel=fine, vq=0.0)
    train(run, before + 39, before + 22, mel=fine, vq=0.123456789012345)
    assert run.rules == []
    train(run, before + 40, before + 40, mel=fine, vq=0.123456789012345)
    assert run.rules == [Rule.CONSTANT_COMPONENT]


@pytest.mark.parametrize(
    ("reports", "held", "named"),
    [(3, 1, 3), (2, 1, 2), (2, 2, 6), (3, 4, 12), (20, 6, 20), (20, 7, 21)],
)
def test_it_stands_thrice_as_long_as_it_was_held_before(
    run_with: Callable[..., Any], reports: int, held: int, named: int
) -> None:
    """A value that stayed for one report alone was not held."""
    run = run_with(constant_component=ConstantComponent(reports))
    train(run, held, mel=fine, vq=0.3123456789012345)
    train(run, held + named - 1, held + 1, mel=fine, vq=10.0)
    assert run.rules == ([] if held < reports else [Rule.CONSTANT_COMPONENT])
    assert not run.rules or run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.HEALED
    train(run, held + named, held + named, mel=fine, vq=10.0)
    assert run.finding(Rule.CONSTANT_COMPONENT).status is FindingStatus.ACTIVE


HALF, OTHER = 0.69140625, 0.703125  # two values that half precision holds


@pytest.mark.parametrize(
    ("change", "named"), [(31, True), (32, True), (33, False), (64, True), (65, False), (96, True)]
)
def test_one_exact_value_among_halves_is_seen_early_and_in_every_thirty_second_change(
    run: Any, change: int, named: bool
) -> None:
    def half(step: int) -> float:
        return 0.123456789012345 if step == change + 1 else (HALF, OTHER)[step % 2]

    train(run, 100, mel=fine, half=half)
    train(run, 130, 101, mel=fine, half=HALF)
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


UP_AND_DOWN = [1, 2, 3, 4, 3.5, 5, 6, 5.5, 7, 8, 9, 10, 11, 12, 13, 14]  # four turns


@pytest.mark.parametrize(
    ("past", "named"),
    [
        (UP_AND_DOWN, True),
        ([*UP_AND_DOWN[:6], 6, 7, 7, 8, 9, 10, 11, 12, 13, 14], False),
        ([1, 2, 3, 4, 3, 5, 6, 5, 7, 8, 9, 10, 11, 12, 12, 12], True),
        ([1, 2, 3, 4, 3, 5, 6, 5, 7, 8, 9, 10, 11, 11, 11, 11], False),
        ([-value for value in UP_AND_DOWN], True),
    ],
    ids=["16 values, 4 turns", "2 turns", "12 values", "11 values", "downwards"],
)
def test_a_rounded_part_was_lively_before_with_twelve_values_and_four_turns(
    run: Any, past: list[float], named: bool
) -> None:
    series = [0.5, 0.25, *past]
    train(run, len(series), mel=fine, half=lambda step: 100 + series[step - 1])
    train(run, len(series) + 40, len(series) + 1, mel=fine, half=1.5)
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


@pytest.mark.parametrize(
    ("loss", "named"),
    [(lambda step: 1.0 + math.exp(-step / 9.0), True), (bfloat, True), (lambda step: (HALF, OTHER)[step % 2], False)],
    ids=["exact", "lively", "neither"],
)  # fmt: skip
def test_a_whole_report_that_stands_still_was_exact_or_lively_before(
    run: Any, loss: Callable[[int], float], named: bool
) -> None:
    train(run, 40, loss=loss)
    train(run, 80, 41, loss=5.0)
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


@pytest.mark.parametrize(
    ("late", "named", "rest"), [(0, 38, "the rest changes"), (2, 40, "steps advance")]
)
def test_the_rest_changes_where_it_does_in_more_than_half_of_the_reports(
    run: Any, late: int, named: int, rest: str
) -> None:
    train(run, named - 1, mel=lambda step: fine(max(late, step) // 2), vq=10.0)
    assert run.rules == []
    train(run, named, named, mel=lambda step: fine(step // 2), vq=10.0)
    evidence = run.finding(Rule.CONSTANT_COMPONENT).evidence
    assert evidence == (
        f"loss component 'vq' is exactly 10.0 in {named} reports in a row since step 1, threshold 20, while {rest}"
    )


@pytest.mark.parametrize(
    ("steps", "fields"),
    [
        (range(1, 21), {"learning_rate": 1e-6}),
        (range(1, 21), {"active_from": {"vq": 2}}),
        ([*range(1, 20), 0], {"active_from": {"judge": 500}}),
    ],
    ids=["at any rate", "from the step on at which it begins", "after a roll-back to step 0"],
)
def test_reports_count_while_there_is_something_to_learn(
    run: Any, steps: Sequence[int], fields: dict[str, Any]
) -> None:
    for at, step in enumerate(steps):
        assert run.rules == []
        run.step(step, losses={"mel": fine(at), "vq": 10.0}, **fields)
    assert run.rules == [Rule.CONSTANT_COMPONENT]


@pytest.mark.parametrize(
    ("change", "named"), [(31, False), (32, True)], ids=["one in the first 32", "a later one"]
)
def test_decimals_that_a_printer_leaves_are_told_by_the_first_changes(
    run: Any, change: int, named: bool
) -> None:
    for step in range(1, 61):
        seg = 1.12345 if step == change + 1 else printed(step)
        run.step(step, losses={"seg": seg, "reg": printed(step, 0.7), "cls": 100.0})
    assert (Rule.CONSTANT_COMPONENT in run.rules) is named


@pytest.mark.parametrize(
    ("changes", "others", "named"),
    [(16, printed, True), (15, printed, False), (99, lambda step, _: 1.5 + step % 7, False), (99, None, False)],
    ids=["16 changes", "15", "no decimals", "one series alone"],
)  # fmt: skip
def test_decimals_are_those_of_two_series_that_changed_sixteen_times(
    run: Any, changes: int, others: Callable[..., float] | None, named: bool
) -> None:
    for step in range(1, 61):
        losses = {"seg": (others or printed)(step, 0.0), "cls": 20000.0}
        if others is not None:
            losses["reg"] = others(step * changes // 59, 0.7)
        run.step(step, losses=losses)
    finding = run.finding(Rule.CONSTANT_COMPONENT)
    assert (finding is not None and "'cls'" in finding.evidence) is named
    assert finding is None or named


def rule_of(samples: list[StepSample]) -> constant_component.ConstantComponent:
    """The rule alone, after it took these."""
    attempt = Attempt(HealthMode.NOTIFY, lambda: 0.0, cast(Any, None))
    rule = constant_component.ConstantComponent(ConstantComponent(), attempt)
    for sample in samples:
        rule.feed(sample)
    return rule


def reports(first: int, last: int, **losses: Any) -> list[StepSample]:
    fields = {name: losses.pop(name) for name in ("active_from", "parts") if name in losses}
    made = []
    for step in range(first, last + 1):
        now = {name: v(step) if callable(v) else v for name, v in losses.items()}
        told = {
            "rank": 0,
            "step": step,
            "losses": now,
            "gradient_norm": 1.5,
            "time": 0.0,
            "now": 0.0,
        }
        made.append(from_fields(told | fields))
    return made


@pytest.mark.parametrize(
    ("begins", "length", "exact"),
    [
        (61, 4, 0), (61, 5, 65), (61, 5, 64), (65, 4, 65), (65, 4, 66), (61, 128, 97), (61, 128, 98), (61, 128, 161),
        (61, 128, 0), (90, 40, 0),
    ],
)  # fmt: skip
def test_a_calm_stretch_at_once_is_known_as_one_by_one(
    begins: int, length: int, exact: int
) -> None:
    """`exact`: the one report in which a rounded series shows all its digits."""
    losses = {
        "mel": fine,
        "off": 0.0,
        "half": lambda step: 0.123456789012345 if step == exact else (HALF, OTHER)[step % 2],
        "late": lambda step: fine(step + 1),
        "held": lambda step: fine(begins - 3 if begins - 3 <= step < begins else step + 2),
        "back": lambda step: 0.0 if begins - 25 <= step < begins else fine(step + 3),
    }
    before = reports(1, begins - 1, active_from={"late": 10_000}, **losses)
    calm = reports(begins, begins + length - 1, **losses)
    at_once, one_by_one = rule_of(before), rule_of(before + calm)
    stretch = stretch_of(calm)
    assert stretch is not None
    assert at_once.pass_over(stretch)
    known = [
        [dataclasses.asdict(stream) for stream in vars(rule)["_streams"].values()]
        for rule in (at_once, one_by_one)
    ]
    assert known[0] == known[1]


def calm(step: float) -> float:
    return fine(step + 5)


SO_FAR = reports(1, 60, loss=fine, kl=calm)
CALM = reports(61, 70, loss=fine, kl=calm)


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [
        (reports(1, 33, loss=fine, kl=calm), reports(34, 43, loss=fine, kl=calm), True),
        (reports(1, 32, loss=fine, kl=calm), reports(33, 42, loss=fine, kl=calm), False),
        (reports(1, 60, loss=fine), CALM, False),
        (SO_FAR, reports(61, 70, loss=fine, kl=lambda step: calm(max(step, 62) - 2)), False),
        (SO_FAR, reports(61, 70, loss=fine, kl=lambda step: calm(step - (step == 61))), False),
        (SO_FAR, reports(61, 70, loss=fine, kl=lambda step: calm(step) * (step != 64)), False),
        (SO_FAR, reports(60, 69, loss=lambda step: fine(step + 3), kl=fine), False),
        (SO_FAR, reports(61, 70, loss=fine, kl=calm, parts={"acc": 0.5}), False),
        (reports(1, 60, loss=fine, kl=lambda step: calm(step) * (step < 20)), CALM, False),
        (reports(1, 60, loss=fine, kl=lambda step: calm(step // 2)), reports(61, 70, loss=fine, kl=0.0), False),
        (reports(1, 60, loss=fine, kl=lambda step: calm(min(step, 40))), CALM, False),
        ([], CALM, False),
    ],
    ids=[
        "32 changes so far", "31 changes", "another component", "a value twice", "the value before again", "a zero",
        "the step before again", "parts", "switched on", "switched off", "a finding", "another stream",
    ],
)  # fmt: skip
def test_reports_are_passed_over_unless_something_goes_on(
    before: list[StepSample], after: list[StepSample], passed: bool
) -> None:
    stretch = stretch_of(after)
    assert stretch is not None
    assert rule_of(before).pass_over(stretch) is passed
