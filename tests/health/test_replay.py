"""Finished runs: rows → samples → what would have fired."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_contract.findings import Action, FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.stated import Expectation
from speech_contract.thresholds import OnExceeded, Thresholds
from speech_health.recorded import Rows
from speech_health.replay import Replayed, replay
from speech_health.samples import StepSample
from speech_health.stretch import LONGEST


def test_our_own_events_tell_of_gated_steps_and_roll_backs() -> None:
    bad = {"event": "update_skipped", "bad_component": "generator/kl"}
    rows: list[dict[str, Any]] = [{**bad, "step": step} for step in range(12, 17)]
    rows.append({"event": "rolled_back", "step": 10})
    result = replay(Rows().read([{"event": "model_built"}, *rows]))
    (fired,) = result.findings
    assert (fired.rule, fired.step, fired.severity) == (Rule.NON_FINITE, 12, Severity.CRITICAL)
    assert result.reports == 6


def test_our_own_events_tell_of_compared_checkpoints() -> None:
    row = {"event": "checkpoints_compared", "step": 20, "since": 10, "updates": 10, "movement": {}}
    result = replay(Rows().read([row, {**row, "unchanged": {"flow": 1.0}, "rate_sum": 0.1}]))
    (fired,) = result.findings
    assert (fired.rule, fired.step, fired.action) == (Rule.NOT_UPDATING, 10, Action.WOULD_STOP)


def test_codebooks_of_a_log_are_judged() -> None:
    low = {"q0": {"perplexity": 1, "size": 512}, "q1": {"unheard": 1}, "q2": 7}
    rows = [{"step": step, "loss": 1.0 / step, "codebooks": low} for step in range(1, 300)]
    (fired,) = replay(Rows().read(rows)).findings
    assert (fired.rule, fired.step) == (Rule.CODEBOOK_COLLAPSE, 201)


def test_held_out_scores_that_fall_behind_are_told() -> None:
    rows: list[dict[str, Any]] = []
    for step in range(1, 400):
        rows.append({"step": step, "loss": 10.0 * 0.99**step})
        if step % 40 == 0:
            rows.append(
                {"step": step, "eval_loss": 2.0 + max(0, step - 200) / 100, "eval_runtime": step}
            )
    (fired,) = replay(Rows().read(rows)).findings
    assert (fired.rule, fired.step) == (Rule.GOAL_UNREACHABLE, 361)
    assert "held-out eval_loss" in fired.evidence


def test_every_episode_is_an_entry_and_nothing_ends_the_judging() -> None:
    losses = [0.0] * 25 + [1.0] * 5 + [0.0] * 30 + [1.0, 1.1]
    result = replay(Rows().read({"loss": loss} for loss in losses))
    assert [(f.rule, f.step, f.status) for f in result.findings] == [
        (Rule.ZERO_LOSS, 1, FindingStatus.HEALED),
        (Rule.ZERO_LOSS, 31, FindingStatus.HEALED),
    ]
    assert {f.action for f in result.findings} == {Action.WOULD_STOP}
    assert result.critical


def test_episodes_come_in_their_order_however_long_a_file_is() -> None:
    """A stretch that is judged at once has an end, and the next one begins after it."""
    losses = [0.0] * 25 + [1.0 + n % 7 for n in range(LONGEST)] + [0.0] * 30 + [1.0, 1.1]
    result = replay(Rows().read({"loss": loss} for loss in losses))
    told = [f.step for f in result.findings if f.rule is Rule.ZERO_LOSS]
    assert told == [1, 26 + LONGEST]


def test_a_file_ends_as_a_run_that_went_well() -> None:
    steps = [StepSample(float(n), float(n), rank=0, step=n, updates=0) for n in range(1, 9)]
    (fired,) = (f for f in replay(steps).findings if f.rule is Rule.NO_GRADIENT)
    assert "0 optimizer updates at the end of the run" in fired.evidence


def test_a_sound_run_gives_nothing() -> None:
    result = replay(Rows().read({"loss": 1.0 + 1.0 / step} for step in range(1, 50)))
    assert (result.findings, result.critical, result.last_step) == ([], False, 49)


def held(value: float) -> list[dict[str, float]]:
    """A report and an evaluation in turn, as a file holds them; and one that repeats no value."""
    train = [{"step": step, "loss": 2.0 + math.sin(step) / 9} for step in range(1, 41)]
    return [row for one in train for row in (one, {"step": one["step"], "eval_loss": value})]


def test_each_evaluation_of_a_file_counts_whatever_it_says() -> None:
    still = replay(Rows().read(held(3.1234567891234)))
    assert [fired.rule for fired in still.findings] == [Rule.NOT_UPDATING]
    bad = replay(Rows().read(held(math.nan)))
    assert [fired.rule for fired in bad.findings] == [Rule.NON_FINITE]
    assert "in 40 evaluations in a row" in bad.findings[0].evidence


def test_evaluations_in_the_rows_of_training_count_too() -> None:
    rows = [
        {"epoch": epoch, "loss": 2.0 + math.sin(epoch) / 9, "val_loss": 3.1234567891234}
        for epoch in range(1, 20)
    ]
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.NOT_UPDATING]


@pytest.mark.parametrize("name", ["step_seconds", "step_time", "train/step_time"])
def test_the_time_of_a_step_is_read_where_a_file_has_it(name: str) -> None:
    rows = [
        {"step": step, "loss": 2.0 + math.sin(step), name: 0.5 if step < 100 else 3.0}
        for step in range(1, 300)
    ]
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.SLOWDOWN]


def test_a_zero_norm_between_nans_is_told_by_one_rule_alone() -> None:
    rows = [
        {"step": step, "loss": math.nan if step > 40 else 2.0 + math.sin(step) / 9,
         "grad_norm": 0.0 if step > 40 and step % 2 else 0.5 + step % 7, "learning_rate": 1e-4}
        for step in range(1, 200)
    ]  # fmt: skip
    assert [fired.rule for fired in replay(Rows().read(rows)).findings] == [Rule.NON_FINITE]


RANGES = Thresholds(
    expect={
        "vq": Expectation(max="2", for_reports=1),
        "kl": Expectation(max="2", for_reports=1, on_exceeded=OnExceeded.STOP),
    }
)


def stated(*parts: tuple[float, float]) -> list[StepSample]:
    """Reports with the components `vq` and `kl`: the first may leave its range, the second must not."""
    return [
        StepSample(0.0, float(n), 0, n, losses={"loss": 1.0 + n % 7, "vq": vq, "kl": kl})
        for n, (vq, kl) in enumerate(parts, start=1)
    ]


@pytest.mark.parametrize(
    ("episodes", "told", "tail"),
    [
        (9, 9, "since step 17"),
        (10, 10, "since step 19"),
        (11, 10, "; and 1 more episode(s)"),
        (13, 10, "; and 3 more episode(s)"),
    ],
)
def test_ten_episodes_of_a_rule_are_told_and_how_many_more_there_are(
    episodes: int, told: int, tail: str
) -> None:
    result = replay(stated(*[(3.0, 1.0), (1.0, 1.0)] * episodes), RANGES)
    found = [fired for fired in result.findings if fired.rule is Rule.EXPECTATION]
    assert [fired.step for fired in found] == list(range(1, 2 * told, 2))
    assert tail in found[-1].evidence
    assert ("more episode" in found[-1].evidence) is (episodes > 10)
    assert not any("more episode" in fired.evidence for fired in found[:-1])
    assert {(fired.severity, fired.action) for fired in found} == {
        (Severity.WARNING, Action.WARNED)
    }
    assert not result.critical


def test_the_last_episode_that_is_told_stands_for_the_worst_of_the_rest() -> None:
    calm, warns, stops = (1.0, 1.0), (3.0, 1.0), (1.0, 3.0)
    result = replay(stated(*[warns, calm] * 11, stops, calm), RANGES)
    *first, last = [fired for fired in result.findings if fired.rule is Rule.EXPECTATION]
    assert {fired.severity for fired in first} == {Severity.WARNING}
    assert (last.step, last.severity, last.action) == (19, Severity.CRITICAL, Action.WOULD_STOP)
    assert result.critical


@pytest.mark.parametrize(
    "parts",
    [((3.0, 3.0), (3.0, 1.0)), ((3.0, 1.0), (3.0, 3.0)), ((3.0, 1.0), (1.0, 3.0), (3.0, 1.0))],
)
def test_an_episode_is_as_severe_as_its_worst_moment(
    parts: tuple[tuple[float, float], ...],
) -> None:
    (fired,) = replay(stated(*parts, (1.0, 1.0)), RANGES).findings
    assert (fired.severity, fired.action) == (Severity.CRITICAL, Action.WOULD_STOP)
    assert (fired.step, fired.status) == (1, FindingStatus.HEALED)
    assert "healed: within its range" in fired.evidence


def test_of_two_deeds_as_severe_the_newest_is_told() -> None:
    rows = [{"event": "update_skipped", "step": 3}, {"event": "rolled_back", "step": 3}]
    (fired,) = replay(Rows().read(rows)).findings
    assert (fired.severity, fired.action) == (Severity.WARNING, Action.ROLLED_BACK)


def test_what_gave_way_to_another_rule_later_is_told_all_the_same() -> None:
    rows = [{"step": n, "losses": {"loss": 0.0}} for n in range(1, 21)]
    rows.append({"step": 21, "losses": {"loss": 0.0, "mel": math.nan}})
    told = [(fired.rule, fired.step) for fired in replay(Rows().read(rows)).findings]
    assert told == [(Rule.ZERO_LOSS, 1), (Rule.NON_FINITE, 21)]


def test_an_episode_that_begins_with_the_next_stretch_comes_after_the_one_before() -> None:
    calm = [1.0 + n % 7 for n in range(106)]
    losses = [*calm, *[0.0] * 20, *calm[:4], *[0.0] * 20, *calm[:4]]
    told = [f.step for f in replay(Rows().read({"loss": loss} for loss in losses)).findings]
    assert told == [107, 131]


def report(step: int, *, opens: bool = False, **more: Any) -> StepSample:
    return StepSample(float(step), float(step), rank=0, step=step, opens=opens, **more)


def test_of_nothing_there_is_nothing_to_say() -> None:
    assert replay([]) == Replayed(reports=0, last_step=None, findings=[], runs=1)


def test_each_run_of_a_file_is_judged_by_itself_and_named() -> None:
    one = [report(step, opens=step == 1, losses={"loss": 1.0 / step}) for step in range(1, 8)]
    zeros = [report(step, opens=step == 1, losses={"loss": 0.0}) for step in range(1, 4)]
    result = replay([*one, *zeros, *zeros])
    assert (result.reports, result.last_step, result.runs) == (13, 3, 3)
    starts = [
        fired.evidence.partition(": loss exactly 0 in 3 report")[0] for fired in result.findings
    ]
    assert starts == ["in run 2 of this file", "in run 3 of this file"]


def test_an_evaluation_alone_is_no_report_and_no_run() -> None:
    scores: dict[str, Any] = {"evaluation": {"wer": 0.5}}
    result = replay([
        report(0, opens=True, **scores),
        report(1, opens=True, losses={"loss": 1.0}, **scores),
        report(2, losses={"loss": 0.5}),
        report(2, **scores),
    ])  # fmt: skip
    assert (result.reports, result.runs) == (2, 1)


def test_a_step_on_a_line_of_its_own_is_one_report_with_the_loss_below_it() -> None:
    steps = [report(step) for step in range(1, 8)]
    both = [
        s for step in steps for s in (step, report(step.step, losses={"loss": 1.0 / step.step}))
    ]
    assert replay(both).reports == 7
    assert replay(steps).reports == 7  # nothing else is told


@pytest.mark.parametrize(
    ("steps", "fields", "evidence"),
    [
        ((1, 2, 3), {}, "the run ended after 3 report(s) without one loss or gradient norm"),
        (
            (0, 0),
            {"losses": {"loss": 1.0}},
            "the run ended after 2 report(s) without one training step",
        ),
    ],
)
def test_a_file_that_shows_no_training_says_what_it_lacks_and_in_how_many_reports(
    steps: tuple[int, ...], fields: dict[str, Any], evidence: str
) -> None:
    (fired,) = replay([report(step, **fields) for step in steps]).findings
    assert (fired.rule, fired.status) == (Rule.TELEMETRY_MISSING, FindingStatus.ACTIVE)
    assert fired.evidence == evidence
