"""The last words of a run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speech_cli.rendering import verdict
from speech_cli.rendering.cause import Cause, cause_of
from speech_cli.rendering.view import view_of
from speech_cli.rendering.why import Evidence, explain, lines
from speech_contract import codec
from speech_contract.findings import Finding, FindingStatus
from speech_contract.outcome import EXIT_CODES, Outcome
from speech_contract.report import BadStep
from speech_contract.result import Best, Result
from speech_contract.rules import Rule, Severity
from speech_contract.scores import Better, ScoreSpec

Make = dict[str, Callable[..., Any]]
TRIVIAL = {"constant median frame": 1.156, "other sentence": 1.252}
BASELINES = {name: {"dtw_mel": value} for name, value in TRIVIAL.items()}
LOWER = ScoreSpec(Better.LOWER)
SPECS = {"dtw_mel": LOWER}


@pytest.mark.parametrize(
    ("score", "said"),
    [
        (1.03, "below constant median frame 1.16 and other sentence 1.25"),
        (1.2, "below other sentence 1.25, NOT below constant median frame 1.16"),
        (1.3, "NOT below constant median frame 1.16 and other sentence 1.25"),
        (1.156, "below other sentence 1.25, NOT below constant median frame 1.16"),
        (float("nan"), "NOT below constant median frame 1.16 and other sentence 1.25"),
    ],
)
def test_a_score_is_told_beside_its_trivial_baselines(score: float, said: str) -> None:
    assert verdict.compare(score, TRIVIAL, LOWER) == said


def test_scores_without_baseline_share_one_line() -> None:
    result = Result(scores={"dtw_mel": 1.03, "length_ratio": 0.98, "mel_l1": 0.5},
                    specs=SPECS, baselines=BASELINES)  # fmt: skip
    assert list(verdict.score_lines(result)) == [
        "DTW-mel 1.03, below constant median frame 1.16 and other sentence 1.25",
        "length ratio 0.98, mel l1 0.50",
    ]


@pytest.mark.parametrize(
    ("spec", "score", "said"),
    [
        (ScoreSpec(Better.HIGHER, "dB"), 9.5, "above silence 3.00 dB, NOT above copy 12.00 dB"),
        (
            ScoreSpec(Better.TARGET, target=10.0),
            9.5,
            "closer to 10 than silence 3.00 and copy 12.00",
        ),
        (ScoreSpec(), 9.5, "beside silence 3.00 and copy 12.00"),
    ],
)
def test_a_score_is_compared_in_its_own_direction(spec: ScoreSpec, score: float, said: str) -> None:
    assert verdict.compare(score, {"silence": 3.0, "copy": 12.0}, spec) == said


def test_nothing_is_concluded_from_a_score_of_unknown_direction() -> None:
    result = Result(scores={"x": 1.0}, baselines={"constant": {"x": 2.0}})
    assert verdict.beats_baselines(result) is None


def test_the_best_checkpoint_is_told_with_step_and_score() -> None:
    result = Result(
        scores={"snr": 7.0},
        specs={"snr": ScoreSpec(Better.HIGHER, "dB")},
        best=Best("snr", 9.0, 40, "step-40.a1"),
    )
    assert list(verdict.score_lines(result)) == [
        "SNR 7.00 dB",
        "best SNR 9.00 dB at step 40: checkpoint step-40.a1",
    ]
    assert codec.from_document(Result, codec.to_document(result)) == result


@pytest.mark.parametrize(
    ("result", "beats"),
    [
        (Result(), None),
        (Result(scores={"dtw_mel": 1.0}), None),
        (Result(scores={"dtw_mel": 1.2}, specs=SPECS, baselines=BASELINES), False),
        (Result(scores={"dtw_mel": 1.1}, specs=SPECS, baselines=BASELINES), True),
    ],
)
def test_beating_means_below_every_baseline(result: Result, beats: bool | None) -> None:
    assert verdict.beats_baselines(result) is beats


def test_a_complete_run_says_time_scores_and_places(make: Make) -> None:
    result = Result(scores={"dtw_mel": 1.03}, specs=SPECS, baselines=BASELINES)
    places = {"samples": Path("run/samples/step-800")}
    assert list(verdict.complete_lines(view_of(make["complete"]()), result, places)) == [
        "voice: Complete after 800 steps in 2m58s, health Healthy",
        "DTW-mel 1.03, below constant median frame 1.16 and other sentence 1.25",
        "samples: run/samples/step-800",
    ]


def test_a_voice_that_is_not_better_than_nothing_is_told_so(make: Make) -> None:
    result = Result(scores={"dtw_mel": 1.3}, specs=SPECS, baselines=BASELINES)
    lines = list(verdict.complete_lines(view_of(make["complete"]()), result, {}))
    assert "does not beat a trivial answer" in lines[-1]


def test_a_run_without_evaluation_claims_no_scores(make: Make) -> None:
    lines = list(verdict.complete_lines(view_of(make["complete"]()), None, {}))
    assert lines[1:] == ["no held-out scores were written"]


def test_a_failed_run_names_cause_place_evidence_and_remedy(make: Make) -> None:
    document = make["nan"]()
    told = Outcome(1, 0, "Training", 40, "loss is nan", "NonFinite", 0, step=15,
                   first_bad=BadStep(12, "generator/mel", "decoder"))  # fmt: skip
    cause = cause_of(document, [told])
    assert list(verdict.failed_lines(view_of(document), cause, 40, {})) == [
        "voice: Failed, NonFiniteBudgetSpent (exit code 40: non-finite losses or gradients beyond "
        "the budget, or a spike that did not heal)",
        "what: loss is nan",
        "where: step 12, rank 0, loss component generator/mel, module decoder",
        "evidence: NonFinite: 4 steps in a row with loss nan, steps 12 to 15",
        "remedy: lower the learning rate",
        "next: speechtrain why voice",
    ]


@pytest.mark.parametrize("code", sorted(EXIT_CODES))
def test_every_exit_code_has_a_remedy_in_the_verdict(make: Make, code: int) -> None:
    lines = list(verdict.failed_lines(view_of(make["job"]("Failed")), Cause(code), code, {}))
    assert EXIT_CODES[code].meaning in lines[0]
    assert lines[-2] == f"remedy: {EXIT_CODES[code].remedy}"


def test_the_same_sentence_is_not_said_twice(make: Make) -> None:
    cause = Cause(
        41, rule="ZeroLoss", message="loss 0 in 5 reports", evidence="loss 0 in 5 reports"
    )
    lines = list(verdict.failed_lines(view_of(make["job"]("Failed")), cause, 41, {}))
    assert sum("loss 0 in 5 reports" in line for line in lines) == 1


def test_without_an_exit_code_of_a_pod_no_meaning_is_invented(make: Make) -> None:
    late = [{"type": "Failed", "status": "True", "reason": "DeadlineExceeded", "message": "60 s"}]
    document = make["job"]("Failed", conditions=late)
    lines = list(verdict.failed_lines(view_of(document), cause_of(document, []), 1, {}))
    assert lines[:2] == ["voice: Failed, DeadlineExceeded (exit code 1)", "what: 60 s"]
    assert "remedy" not in "\n".join(lines)


def test_a_suspended_run_says_how_to_continue(make: Make) -> None:
    document = make["job"]("Suspended", progress={"step": 40, "lastCheckpointStep": 40})
    lines = list(verdict.ended_lines(view_of(document), 75, "speechtrain run a.yaml"))
    assert lines == [
        "voice: Suspended at step 40, saved at step 40 (exit code 75: interrupted after saving)",
        "continue with: speechtrain run a.yaml",
    ]


def test_the_master_of_the_newest_attempt_has_the_word(make: Make) -> None:
    outcomes = [
        Outcome(1, 0, "Training", 1, "old"),
        Outcome(2, 1, "Training", 137, "a worker died of it"),
        Outcome(2, 0, "Training", 45, "rank 1 hangs"),
    ]
    cause = cause_of(make["job"]("Failed"), outcomes)
    assert (cause.exit_code, cause.message) == (45, "rank 1 hangs")


def test_without_outcome_the_status_speaks(make: Make) -> None:
    cause = cause_of(make["nan"](), [])
    assert (cause.exit_code, cause.rule, cause.step, cause.rank) == (40, "NonFinite", 12, 0)


def test_a_refused_spec_is_code_64_whatever_an_older_attempt_said(make: Make) -> None:
    refused = [
        {"type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "x: bad"}
    ]
    cause = cause_of(make["job"]("Failed", conditions=refused), [])
    assert (cause.exit_code, cause.message) == (64, "x: bad")


@pytest.mark.parametrize("reason", ["RestartBudgetSpent", "SameCauseAgain", "DeadlineExceeded"])
def test_why_the_job_ended_beats_what_its_last_attempt_said(make: Make, reason: str) -> None:
    failure = {"reason": reason, "message": "the budget is spent; last: rank 0 ended with 1"}
    document = make["job"]("Failed", failure=failure)
    told = Outcome(
        attempt=2, node_rank=0, phase="Training", exit_code=1, message="rank 0 ended with 1"
    )
    assert cause_of(document, [told]).message == failure["message"]
    failure["reason"] = "Error"
    assert cause_of(make["job"]("Failed", failure=failure), [told]).message == told.message


def _next(document: Any, told: list[Outcome]) -> str:
    return dict(lines(explain(document, told, Evidence(), 0.0)))["next"]


@pytest.mark.parametrize("reason", ["RestartBudgetSpent", "SameCauseAgain"])
def test_a_spent_budget_says_how_its_checkpoints_are_gone_on_from(make: Make, reason: str) -> None:
    """Also where a rule ended the last attempt: its words would leave the checkpoints behind."""
    found = Finding(
        Rule.NON_FINITE,
        FindingStatus.ACTIVE,
        Severity.CRITICAL,
        "nan",
        remedy="lower the learning rate",
    )
    told = Outcome(2, 0, "Training", 40, "nan", found.rule.value, findings=[found])
    document = make["nan"]()
    document["status"]["failure"] = {"reason": "Error", "message": "spent"}
    of_the_rule = "lower the learning rate; then `speechtrain run FILE --new`"
    assert _next(document, [told]) == of_the_rule
    failure = {"reason": reason, "message": "spent", "remedy": "mend the data; go on like this"}
    document["status"]["failure"] = failure
    assert _next(document, [told]) == failure["remedy"]
    del failure["remedy"]  # as an older operator left it
    assert _next(document, [told]) == of_the_rule
