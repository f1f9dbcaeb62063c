"""Which of the master's words is the newest: one order, for numbers, verdict and preflight alike."""

from __future__ import annotations

from typing import Any

import pytest

from speech_contract.findings import Verdict
from speech_operator.accounts import accounts
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import Observed


def looked(build: Any, code: int | None, at: int | None, answer: int | None) -> Observed:
    """A master that ended with a record of step `at`; `/progress` last told of step `answer`."""
    told = build.outcome(code, step=at, verdict="Critical")
    progress = None if answer is None else build.progress(step=answer, verdict=Verdict.WARNING)
    seen: Observed = build.seen(
        build.failed(0, code or 137, outcome=told), build.pod(1), progress=progress
    )
    return seen


@pytest.mark.parametrize(
    ("code", "at", "answer", "order"),
    [
        (40, 20, None, ["Outcome"]),
        (40, 20, 31, ["Outcome", "Progress"]),  # it ended by itself, after a roll-back perhaps
        (None, 31, 31, ["Outcome", "Progress"]),
        (None, 20, 31, ["Progress"]),  # killed: the record is older
        (None, None, 31, ["Progress"]),
    ],
)
def test_the_newest_comes_first(
    build: Any, code: int | None, at: int | None, answer: int | None, order: list[str]
) -> None:
    found = accounts(looked(build, code, at, answer))
    assert [type(account).__name__ for account in found] == order


def test_while_the_master_runs_its_answer_counts(build: Any) -> None:
    seen = build.seen(build.pod(0), build.pod(1), progress=build.progress(step=5))
    assert [type(account).__name__ for account in accounts(seen)] == ["Progress"]
    assert accounts(build.seen(build.pod(0), build.pod(1))) == ()


@pytest.mark.parametrize(("code", "step", "verdict"), [(40, 20, "Critical"), (None, 31, "Warning")])
def test_numbers_and_verdict_are_of_one_account(
    build: Any, code: int | None, step: int, verdict: str
) -> None:
    status = reconcile(looked(build, code, 20, 31), build.now).status
    assert (status.progress.step, status.health.verdict.value) == (step, verdict)
