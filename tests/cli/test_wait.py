"""`speechtrain wait`: what has come, what cannot come any more, and when the time is over. No test waits."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from api_double import JOBS, ApiDouble, status
from click.testing import Result

from speech_cli import waiting
from speech_cli.cluster_client import Forbidden, NotFound
from speech_cli.errors import ClusterProblem, UserError
from speech_cli.waiting import Goal, Prospect
from speech_contract.reasons import Condition
from speech_contract.unattended import NOBODY, unattended

Call = Callable[..., Result]
Make = dict[str, Callable[..., Any]]


@pytest.mark.parametrize(
    ("text", "goal"),
    [
        ("condition=Complete", Goal(Condition.COMPLETE)),
        ("condition=failed", Goal(Condition.FAILED)),
        ("step=200", Goal(step=200)),
    ],
)
def test_goals(text: str, goal: Goal) -> None:
    assert waiting.goal(text) == goal
    assert str(goal).lower() == text.lower()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("condition=Complet", "did you mean condition=Complete?"),
        ("Complete", "did you mean condition=Complete?"),
        ("phase=7", "conditions: Accepted, Queued"),
        ("step=two", "write a whole number from 1"),
        ("step=0", "write a whole number from 1"),
        ("", "is not condition=NAME or step=NUMBER"),
    ],
)
def test_what_is_no_goal(text: str, told: str) -> None:
    with pytest.raises(UserError, match=r"is not|names no") as caught:
        waiting.goal(text)
    assert told in caught.value.message


def refused(make: Make, generation: int) -> Any:
    no = {"type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "spec.x: is y"}
    document = make["job"]("Refused", conditions=[no], observedGeneration=1)
    document["metadata"]["generation"] = generation
    return document


def test_judging_a_job(make: Make) -> None:
    def prospect(document: Any, text: str) -> Prospect:
        return waiting.judge(document, waiting.goal(text)).prospect

    running = make["job"](progress={"step": 20, "totalSteps": 800})
    assert prospect(running, "step=20") is Prospect.CAME
    assert prospect(running, "step=21") is Prospect.OPEN
    assert prospect(running, "step=801") is Prospect.LOST
    assert prospect(running, "condition=Complete") is Prospect.OPEN
    assert prospect(make["complete"](), "condition=Complete") is Prospect.CAME
    assert prospect(make["complete"](), "condition=Failed") is Prospect.LOST
    assert prospect(make["nan"](), "condition=Complete") is Prospect.LOST
    assert prospect(make["nan"](), "step=15") is Prospect.CAME
    assert prospect(make["nan"](), "step=16") is Prospect.LOST
    assert prospect(refused(make, 1), "condition=Complete") is Prospect.LOST
    assert prospect(refused(make, 2), "condition=Complete") is Prospect.OPEN  # mended since
    assert prospect(make["job"]("Suspended"), "condition=Complete") is Prospect.OPEN
    assert prospect(make["job"]("Unknown"), "condition=Complete") is Prospect.LOST
    alone = unattended(running, f"{NOBODY}; its processes go on", "resume it")
    assert prospect(alone, "condition=Complete") is Prospect.LOST
    assert NOBODY in waiting.judge(alone, waiting.goal("condition=Complete")).why
    assert prospect(alone, "step=20") is Prospect.CAME
    silent = unattended(running, "nobody has heard of this attempt for 5m", "look for the operator")
    assert prospect(silent, "condition=Complete") is Prospect.OPEN  # an operator may come back


class Course:
    """A place where a job goes from document to document, and a clock that each look moves on."""

    def __init__(self, *seen: Any) -> None:
        self.seen = iter(seen)
        self.now = 0.0

    def find(self, name: str) -> Any:
        one = next(self.seen)
        if isinstance(one, Exception):
            raise one
        return one

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def until(self, first: Any, text: str, timeout: float | None = None, **more: Any) -> Any:
        return waiting.until(
            self,
            first,
            waiting.goal(text),
            timeout,
            clock=lambda: self.now,
            sleep=self.sleep,
            **more,  # type: ignore[arg-type]
        )


def test_it_looks_until_the_job_is_there(make: Make) -> None:
    running = make["job"]()
    standing = Course(running, make["complete"]()).until(running, "condition=Complete")
    assert standing.prospect is Prospect.CAME
    assert standing.why.startswith("it is Complete at step 800/800")


def test_it_ends_when_the_time_is_over_or_nothing_can_come(make: Make) -> None:
    running = make["job"]()
    course = Course(*itertools.repeat(running, 9))
    assert course.until(running, "condition=Complete", 2.5).prospect is Prospect.OPEN
    assert course.now == 2.5
    failed = Course(make["nan"]()).until(running, "condition=Complete")
    assert failed.prospect is Prospect.LOST
    assert "NonFiniteBudgetSpent: non-finite beyond the budget" in failed.why


def test_a_job_that_goes_or_is_made_anew(make: Make) -> None:
    running = make["job"]()
    gone = Course(NotFound("no")).until(running, "condition=Complete")
    assert (gone.prospect, gone.why) == (Prospect.LOST, "it was deleted")
    other = copy.deepcopy(running)
    other["metadata"]["uid"] = "another"
    anew = Course(other).until(running, "condition=Complete")
    assert (anew.prospect, anew.why) == (Prospect.LOST, "it was deleted, and made anew")


def test_an_api_server_that_is_away_is_waited_for_and_told_once(make: Make) -> None:
    said: list[str] = []
    away = ClusterProblem("no answer")
    course = Course(away, away, make["complete"]())
    assert (
        course.until(make["job"](), "condition=Complete", notice=said.append).prospect
        is Prospect.CAME
    )
    assert said == ["no answer; it is asked again"]
    with pytest.raises(Forbidden):
        Course(Forbidden("no")).until(make["job"](), "condition=Complete")


# ---------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    ("options", "code", "told"),
    [
        (("--for=step=700",), 0, "voice: step=700 after 0s: it is Complete at step 800/800"),
        ((), 0, "condition=Complete after 0s"),
        (("--for", "condition=Failed"), 3, "condition=Failed cannot come any more: it is Complete"),
    ],
)
def test_the_command_here(
    call: Call, runs: Any, make: Make, options: tuple[str, ...], code: int, told: str
) -> None:
    runs.jobs = {"voice": make["complete"]()}
    answer = call("wait", "voice", *options)
    assert answer.exit_code == code
    assert told in (answer.stderr if code else answer.stdout)
    assert ("speechtrain why voice" in answer.stderr) is bool(code)


def test_the_command_in_a_cluster(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.jobs(make["job"](progress={"step": 20, "totalSteps": 800}))
    answer = call("wait", "voice", "--timeout", "0s")
    assert answer.exit_code == 124
    assert "has not come within 0s: it is Running at step 20/800" in answer.stderr
    assert "speechtrain why voice --cluster" in answer.stderr
    document = json.loads(call("wait", "voice", "--timeout=0", "-o", "json").stdout)
    assert document == {
        "exitCode": 124, "job": "voice", "namespace": "speech", "for": "condition=Complete",
        "came": False, "why": "it is Running at step 20/800", "state": "Running", "step": 20,
        "seconds": document["seconds"],
    }  # fmt: skip
    cluster.answers[f"{JOBS}/voice"] = status(404, "not found", name="voice")
    assert call("wait", "voice").exit_code == 64


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("0", 0)]
)
def test_times(
    call: Call, monkeypatch: pytest.MonkeyPatch, make: Make, runs: Any, text: str, seconds: int
) -> None:
    runs.jobs = {"voice": make["complete"]()}
    given: list[float | None] = []
    until = waiting.until
    monkeypatch.setattr(waiting, "until", lambda *a: given.append(a[3]) or until(*a))
    call("wait", "voice", "--timeout", text)
    assert given == [seconds]


@pytest.mark.parametrize("options", [("--timeout", "soon"), ("--timeout", ""), ("--for", "step=x")])
def test_a_wrong_command_line(call: Call, runs: Any, make: Make, options: tuple[str, ...]) -> None:
    runs.jobs = {"voice": make["job"]()}
    assert call("wait", "voice", *options).exit_code == 2
