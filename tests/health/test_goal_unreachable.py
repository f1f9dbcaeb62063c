"""GoalUnreachable: plans that cannot succeed, and scores that fall behind the loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.report import Plan
from speech_contract.scores import Better, ScoreSpec
from speech_contract.thresholds import GoalUnreachable, HealthMode
from speech_health import goal_unreachable
from speech_health.detector import Attempt
from speech_health.pace import Pace
from speech_health.samples import StepSample, from_fields
from speech_health.stretch import stretch_of


def evaluate(
    run: Any,
    *values: float,
    name: str = "dtw_mel",
    falls: bool = True,
    spec: ScoreSpec | None = None,
) -> None:
    """An evaluation each 20 steps, no two alike; the loss falls or rises by two per cent a step."""
    step = int(run.now)
    for exact in values:
        value = exact * (1.0 + 1e-9 * step)
        for _ in range(20):
            step += 1
            loss = 100.0 * (0.98 if falls else 1.02) ** step
            specs = None if spec is None else {name: spec}
            run.step(step, loss=loss, evaluation={name: value}, score_specs=specs)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        (
            Plan(300, fresh=True, parameters=74_700_000, audio_seconds=165.0),
            "74700000 weights from random values on 165 s of audio: 4.53e+05 a second, threshold 100000",
        ),
        (Plan(200, fresh=True, parameters=60_000, audio_seconds=0.5), "1.2e+05 a second"),
        # No end told.
        (Plan(fresh=True, parameters=110_000, audio_seconds=1.0), "1.1e+05 a second"),
        (
            Plan(20_000, goal_snr=30.0, bits_per_second=6000.0),
            "a goal of 30 dB at 6 kbit/s, where no codec of speech exceeds 20.2 dB",
        ),
        (
            Plan(300, fresh=True, samples=33, batch_samples=16),
            "33 samples in batches of 16: an epoch has 2 steps, threshold 4",
        ),
        (Plan(300, fresh=True, samples=63, batch_samples=16), "an epoch has 3 steps"),
        (
            Plan(300, fresh=True, samples=8, batch_samples=16, held_out=1),
            "an epoch has 1 steps, threshold 4; what is seen so often is learned by heart; 1 held-out",
        ),
        (Plan(300, fresh=True, held_out=3), "3 held-out samples, threshold 4"),
    ],
)
def test_a_plan_that_cannot_succeed_is_told_at_the_start(run: Any, plan: Plan, told: str) -> None:
    run.step(1, loss=1.0, plan=plan)
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert finding.severity is Severity.WARNING
    assert told in finding.evidence
    evaluate(run, 1.0, 0.9, 0.8, 0.7)
    assert run.finding(Rule.GOAL_UNREACHABLE).status is FindingStatus.ACTIVE
    assert run.monitor.decision is None


@pytest.mark.parametrize(
    "plan",
    [
        Plan(800, fresh=True, parameters=955_669, audio_seconds=250.0),  # the quickstart
        Plan(20_000, fresh=True, parameters=83_000_000, audio_seconds=3600.0),
        Plan(300, fresh=False, parameters=83_000_000, audio_seconds=60.0),  # adapts
        Plan(40, fresh=True, parameters=955_669, audio_seconds=3.0),  # a trial
        Plan(800, fresh=True, parameters=955_669),
        Plan(800, fresh=True, parameters=955_669, audio_seconds=0.0),
        Plan(800, fresh=True, audio_seconds=1.0),
        Plan(800, fresh=True, parameters=10_000_000, audio_seconds=100.0),  # at the threshold
        Plan(800, parameters=83_000_000, audio_seconds=60.0),  # nobody says from what
        Plan(800, goal_snr=8.0, bits_per_second=6000.0),
        Plan(800, goal_snr=20.0, bits_per_second=5800.0),  # at the bound
        Plan(800, bits_per_second=6000.0),
        Plan(800, fresh=True, samples=8),
        Plan(800, fresh=True, batch_samples=8),
        Plan(800, goal_snr=30.0),
        Plan(800, fresh=True, samples=64, batch_samples=16, held_out=4),
        Plan(800, fresh=True, held_out=0),
        Plan(800, fresh=False, samples=8, batch_samples=8, held_out=1),  # adapts
        Plan(199, fresh=True, samples=8, batch_samples=8, held_out=1),  # a trial
        Plan(),
    ],
)
def test_plans_that_may_succeed(run: Any, plan: Plan) -> None:
    run.step(1, loss=1.0, plan=plan)
    assert run.rules == []


def test_a_plan_that_is_told_anew_takes_the_place_of_the_first(run: Any) -> None:
    run.step(1, loss=1.0, plan=Plan(300, fresh=True, held_out=3))
    run.step(2, loss=1.0, plan=Plan(300, fresh=True, held_out=4))
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert (finding.status, finding.step) == (FindingStatus.HEALED, 1)


@pytest.mark.parametrize(
    ("values", "name", "spec"),
    [
        ((5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0), "quality", ScoreSpec(Better.HIGHER)),
        ((5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0), "quality", ScoreSpec(Better.LOWER)),
        # Said, not guessed; and guessed where nothing is said.
        ((5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0), "accuracy", ScoreSpec(Better.LOWER)),
        ((5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0), "si_snr", None),
        ((0.9, 1.0, 1.0, 1.0, 0.7, 1.4, 0.5), "length_ratio", ScoreSpec(Better.TARGET)),
    ],
)
def test_a_told_direction_is_used_whatever_the_name_says(
    run: Any, values: tuple[float, ...], name: str, spec: ScoreSpec | None
) -> None:
    evaluate(run, *values, name=name, spec=spec)
    assert f"held-out {name} went from {values[2]:g}" in run.finding(Rule.GOAL_UNREACHABLE).evidence


@pytest.mark.parametrize(
    ("values", "spec"),
    [
        ((5.0, 8.0, 8.0, 8.0, 6.0, 5.0, 4.0), ScoreSpec(Better.LOWER)),
        ((5.0, 4.0, 4.0, 4.0, 6.0, 7.0, 8.0), ScoreSpec()),
        ((0.9, 1.0, 1.0, 1.0, 0.99, 1.02, 0.97), ScoreSpec(Better.TARGET)),
    ],
)
def test_a_told_direction_is_no_reason_to_warn_of_what_gets_better(
    run: Any, values: tuple[float, ...], spec: ScoreSpec
) -> None:
    evaluate(run, *values, name="dtw_mel", spec=spec)
    assert Rule.GOAL_UNREACHABLE not in run.rules


@pytest.mark.parametrize(
    ("values", "name", "falls"),
    [
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "length_ratio", True),  # which way is better?
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "eval_samples_per_second", True),
        ((1.0, 1.0, 1.0, 2.0, 3.0, 4.0), "dtw_mel", False),  # the loss rises with it
        ((1.0, 1.0, 1.0, 1.02, 1.04, 1.06), "dtw_mel", True),
        ((1.0, 1.0, 1.0, 1.5, 1.4, 1.5, 1.4), "dtw_mel", True),
        ((1.0, 0.5, 1.0, 1.01, 1.02, 1.03), "dtw_mel", True),  # one lucky evaluation
        ((0.5, 1.0, 1.01, 1.02, 1.03), "dtw_mel", True),  # and it was the first one
        ((1.0, 1.21, 1.4, 1.6), "dtw_mel", True),  # four say too little
        ((0.32, 0.36, 0.39, 0.41, 0.40), "dtw_mel", True),
        ((0.35, 0.36, 0.37, 0.38, 0.39), "dtw_mel", True),  # not far enough
        ((0.32, 0.36, 0.39, 0.41, 0.42), "dtw_mel", False),
        ((1.0, 1.0, 1.0, math.nan, 2.0, 3.0), "dtw_mel", True),
    ],
)
def test_what_is_no_falling_behind(
    run: Any, values: tuple[float, ...], name: str, falls: bool
) -> None:
    evaluate(run, *values, name=name, falls=falls)
    assert Rule.GOAL_UNREACHABLE not in run.rules


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ((0.32, 0.36, 0.39, 0.41, 0.42), "from 0.32 at step 1 to 0.42, worse in 4 evaluations"),
        ((0.5, 0.4, 0.32, 0.36, 0.39, 0.41, 0.42), "from 0.32 at step 41 to 0.42, worse in 4"),
        ((1.0, 1.2, 1.4, 1.6, 2.0), "from 1 at step 1 to 2, worse in 4"),
    ],
)
def test_worse_in_every_evaluation_since_one_is_told_from_that_one(
    run: Any, values: tuple[float, ...], told: str
) -> None:
    evaluate(run, *values)
    assert told in run.finding(Rule.GOAL_UNREACHABLE).evidence


def test_one_evaluation_may_be_half_of_the_way(run: Any) -> None:
    for number, value in enumerate((1.0, 1.25, 1.5, 2.25, 2.5)):
        for step in range(20 * number + 1, 20 * number + 21):
            run.step(step, loss=100.0 * 0.98**step, evaluation={"dtw_mel": value})
    assert "from 1 at step 1 to 2.5" in run.finding(Rule.GOAL_UNREACHABLE).evidence


def follow(
    run: Any, values: Sequence[float], losses: Sequence[float | None], every: int = 20, **more: Any
) -> Any:
    """Evaluations of exact values, each at the end of `every` reports of one loss; the finding."""
    step, name = int(run.now), more.pop("name", "dtw_mel")
    for value, loss in zip(values, losses, strict=True):
        for _ in range(every - 1):
            step += 1
            run.step(step, loss=loss, **more)
        step += 1
        scores = {name: value, "length_ratio": step / 7}  # the other tells evaluations apart
        run.step(step, loss=loss, evaluation=scores, **more)
    return run.finding(Rule.GOAL_UNREACHABLE)


FALLS = [2.0] * 5 + [1.0] * 3


def test_the_evidence_tells_the_first_best_level_and_both_losses(run: Any) -> None:
    finding = follow(run, [1.0] * 5 + [1.3, 1.4, 1.5], FALLS)
    assert finding.step == 160
    assert finding.evidence == (
        "held-out dtw_mel went from 1 at step 60 to 1.5, worse in 3 evaluations in a row, while the loss fell from 2 "
        "to 1"
    )
    healed = follow(run, [1.5], [1.0])
    assert healed.evidence.endswith("; healed: held-out scores no longer fall behind at step 180")


@pytest.mark.parametrize(
    ("values", "losses", "spec", "told"),
    [
        ([1.0] * 5 + [1.2, 1.3, 1.4], FALLS, ScoreSpec(Better.LOWER), False),  # at the share
        ([1.0] * 5 + [1.21, 1.3, 1.4], FALLS, ScoreSpec(Better.LOWER), True),
        # No worse than before.
        ([1.0] * 5 + [1.5, 1.5, 1.6], FALLS, ScoreSpec(Better.LOWER), False),
        ([0.1] * 5 + [0.13, 0.14, 0.15], FALLS, ScoreSpec(Better.LOWER), True),
        ([-1.0] * 5 + [-0.8, -0.7, -0.6], FALLS, ScoreSpec(Better.LOWER), False),
        ([-1.0] * 5 + [-0.79, -0.7, -0.6], FALLS, ScoreSpec(Better.LOWER), True),
        ([2.0] * 5 + [2.3, 2.5, 2.6], FALLS, ScoreSpec(Better.TARGET, target=2.0), False),
        ([2.0] * 5 + [2.5, 2.6, 2.7], FALLS, ScoreSpec(Better.TARGET, target=2.0), True),
        ([1.0] * 5 + [1.3, 1.4, 1.5], [20.0] * 5 + [19.0] * 3, ScoreSpec(Better.LOWER), False),
        ([1.0] * 5 + [1.3, 1.4, 1.5], [20.0] * 5 + [18.9] * 3, ScoreSpec(Better.LOWER), True),
        ([1.0] * 5 + [1.3, 1.4, 1.5], [-20.0] * 5 + [-20.9] * 3, ScoreSpec(Better.LOWER), False),
        ([1.0] * 5 + [1.3, 1.4, 1.5], [-20.0] * 5 + [-21.1] * 3, ScoreSpec(Better.LOWER), True),
    ],
)
def test_a_score_has_to_worsen_and_the_loss_to_fall_by_their_shares(
    run: Any, values: list[float], losses: list[float], spec: ScoreSpec, told: bool
) -> None:
    finding = follow(run, values, losses, score_specs={"dtw_mel": spec})
    assert (finding is not None) is told


def test_the_loss_now_is_the_median_of_twenty_reports(run: Any) -> None:
    finding = follow(run, [1.0] * 5 + [1.3, 1.4, 1.5], [2.0] * 7 + [1.0], every=10)
    assert finding.evidence.endswith("while the loss fell from 2 to 1.5")


def test_more_evaluations_in_a_row_may_be_asked_for(run_with: Callable[..., Any]) -> None:
    run = run_with(goal_unreachable=GoalUnreachable(worsening_evaluations=5))
    assert follow(run, [1.0] * 5 + [1.3, 1.4, 1.5, 1.6], [2.0] * 5 + [1.0] * 4) is None
    assert "worse in 5 evaluations" in follow(run, [1.7], [1.0]).evidence


def test_a_score_that_never_comes_near_to_its_first_value_is_told_with_the_tenth(run: Any) -> None:
    run.step(0, loss=math.nan)
    assert follow(run, [1.0] + [1.3, 1.4] * 4 + [1.3], [2.0] * 10) is None
    finding = follow(run, [1.4], [1.95])
    assert (finding.severity, finding.step) == (Severity.WARNING, 221)
    assert finding.evidence == (
        "held-out dtw_mel began at 1 and was worse in all of the 10 evaluations since, 1.4 now, and the loss did not "
        "fall either (2 at first, 1.95 now)"
    )
    assert follow(run, [1.2], [2.0]).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("values", "losses", "name", "told"),
    [
        ([1.0, *[1.3, 1.3, 1.2], *[1.3] * 12], [2.0] * 16, "dtw_mel", False),  # near once
        ([5.0, *[4.0] * 12], [2.0] * 13, "si_snr", False),
        ([5.0, *[3.9] * 12], [2.0] * 13, "si_snr", True),
        ([1.0, *[1.3] * 12], [2.0, *[1.8] * 12], "dtw_mel", False),  # the loss fell
        ([1.0, *[1.3] * 12], [None] * 13, "dtw_mel", False),  # no loss is known
        ([1.0, *[1.3] * 12], [2.0] * 13, "quality", False),  # which way is better?
    ],
)
def test_never_near_is_worse_by_a_share_each_time_and_of_a_loss_that_stands(
    run: Any, values: list[float], losses: list[float | None], name: str, told: bool
) -> None:
    assert (follow(run, values, losses, name=name) is not None) is told


def test_the_lowest_rank_that_speaks_is_followed(run: Any) -> None:
    worse, better = [1.0] * 5 + [1.3, 1.4, 1.5], [1.0] * 5 + [0.9, 0.8, 0.7]
    for count, (bad, good, loss) in enumerate(zip(worse, better, FALLS, strict=True)):
        for rank, value in ((1, bad), (0, good), (2, bad)):
            scores = {"dtw_mel": value, "length_ratio": count / 7}
            for number in range(20):
                run.step(20 * count + number, rank=rank, loss=loss, evaluation=scores)
    assert run.finding(Rule.GOAL_UNREACHABLE) is None
    assert follow(run, [1.3, 1.4, 1.5], [0.5] * 3, rank=2) is None
    assert follow(run, [1.3, 1.4, 1.5], [0.5] * 3, rank=0) is not None


LOSS = "codes/cross_entropy"
NATS = {"cross_entropy": ScoreSpec(Better.LOWER, "nat/code")}


def compare(run: Any, trained: float, *held_out: float, specs: Any = NATS) -> None:
    """An evaluation each 20 steps, no two alike, beside a training loss that hardly moves."""
    step = int(run.now)
    for value in held_out:
        scores = {"cross_entropy": value + 1e-9 * step}
        for _ in range(20):
            step += 1
            losses = {"total": trained + 1e-6 * step, LOSS: trained + 1e-6 * step}
            run.step(step, losses=losses, evaluation=scores, score_specs=specs)


def test_a_loss_far_below_the_held_out_one_is_told_and_heals(run: Any) -> None:
    compare(run, 0.9, 4.0, 4.0)
    compare(run, 0.9, 4.0)
    assert run.alarms == []
    compare(run, 0.9, 4.0)  # the first one began to watch the component
    assert run.alarms == [Rule.GOAL_UNREACHABLE]
    finding = run.finding(Rule.GOAL_UNREACHABLE)
    assert f"{LOSS} is 0.9001 in training and 4 held out, below 0.25 of it in 3" in finding.evidence
    compare(run, 2.0, 4.0, 4.0)
    assert run.finding(Rule.GOAL_UNREACHABLE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    ("trained", "specs"),
    [(1.1, NATS), (0.9, None), (0.9, {"cross_entropy": ScoreSpec(Better.HIGHER)})],
    ids=["not far", "a stranger's", "no loss"],
)
def test_what_is_not_far_below(run: Any, trained: float, specs: Any) -> None:
    compare(run, trained, *[4.0] * 6, specs=specs)
    assert Rule.GOAL_UNREACHABLE not in run.alarms


def watch(run: Any, trained: list[dict[str, float] | None]) -> list[bool]:
    """Evaluations of 4 nats beside these losses of training; which of them end with a warning."""
    told = []
    for count, losses in enumerate(trained):
        step = int(run.now) + 1
        scores = {"cross_entropy": 4.0, "length_ratio": count / 7}
        run.step(step, losses=losses, evaluation=scores, score_specs=NATS)
        finding = run.finding(Rule.GOAL_UNREACHABLE)
        told.append(finding is not None and finding.status is FindingStatus.ACTIVE)
    return told


@pytest.mark.parametrize(
    ("trained", "told"),
    [
        ([0.9] * 4, [False, False, False, True]),
        ([1.0] * 6, [False] * 6),  # a quarter
        ([0.0] * 6, [False] * 6),  # no loss that is learned: it is switched off
        # By the median; and one evaluation to which it was not far starts the row anew.
        ([0.9, 0.9, 9.0, 9.0, 9.0, 0.5, 0.5, 0.5, 0.5, 0.5], [False] * 9 + [True]),
    ],
)
@pytest.mark.parametrize("name", [LOSS, "cross_entropy"])
def test_far_below_is_less_than_a_quarter_in_three_evaluations(
    run: Any, name: str, trained: list[float], told: list[bool]
) -> None:
    assert watch(run, [{name: loss} for loss in trained]) == told


def test_reports_without_the_component_say_nothing_of_it(run: Any) -> None:
    known = {"kl": 1.0, LOSS: 0.5}
    bad = {"kl": 1.0, LOSS: math.nan}
    assert watch(run, [known, None, {"kl": 1.0}, bad, known, None]) == [False] * 6
    assert watch(run, [None]) == [True]


class Heard:
    """The rule after some reports of rank 0, and how it takes a calm stretch of others."""

    def __init__(self, *reports: dict[str, Any]) -> None:
        attempt = Attempt(HealthMode.NOTIFY, lambda: 0.0, Pace(0.0))
        self.rule = goal_unreachable.GoalUnreachable(GoalUnreachable(), attempt)
        for step, report in enumerate(reports):
            self.rule.feed(self.sample(step, **report))

    def sample(self, step: int, rank: int = 0, **fields: Any) -> StepSample:
        return from_fields({"time": 0.0, "now": 0.0, "rank": rank, "step": step, **fields})

    def passes(self, rank: int = 0, loss: float = 1.0, **fields: Any) -> bool:
        calm = [self.sample(s, rank, losses={"loss": loss}, **fields) for s in range(100, 120)]
        stretch = stretch_of(calm)
        assert stretch is not None
        return self.rule.pass_over(stretch)


SAID = {"losses": {"loss": 2.0}}
NEWS = {"evaluation": {"dtw_mel": 1.0}}
LOWER = {"loss": ScoreSpec(Better.LOWER)}


@pytest.mark.parametrize(
    ("before", "stretch", "passed"),
    [
        ([], {}, False),  # nobody spoke
        ([SAID], {}, True),
        ([SAID], {"rank": 1}, False),
        ([NEWS], {}, False),  # the first loss is to be kept
        ([SAID], NEWS, False),
        ([{**SAID, **NEWS}], NEWS, True),
        ([{**SAID, "evaluation": {"loss": 4.0}, "score_specs": LOWER}], {}, False),  # is compared
    ],
)
def test_a_calm_stretch_without_news_is_passed_over(
    before: list[dict[str, Any]], stretch: dict[str, Any], passed: bool
) -> None:
    assert Heard(*before).passes(**stretch) is passed


def test_losses_that_were_passed_over_count() -> None:
    heard = Heard(*[{**SAID, "evaluation": {"dtw_mel": 1.0 + 1e-9 * n}} for n in range(3)])
    for number in range(3):
        assert heard.passes(loss=1.0)
        heard.rule.feed(heard.sample(200, evaluation={"dtw_mel": 1.3 + 0.1 * number}))
    assert heard.rule.finding is not None
    assert heard.rule.finding.evidence.endswith("while the loss fell from 2 to 1")
