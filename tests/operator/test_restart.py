"""What follows an attempt that ended: another one within the budgets, or the end of the job."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract.outcome import fingerprint
from speech_contract.progress import Rule
from speech_contract.reasons import Condition, Reason, State
from speech_contract.recipes import CustomRecipe, RecipeSpec, VitsRecipe
from speech_contract.report import BadStep
from speech_contract.status import CauseCount, Restarts
from speech_operator import status as st
from speech_operator.plan import Draft
from speech_operator.policies.failure import failure
from speech_operator.policies.restart import grace_after, restart
from speech_operator.reconcile import reconcile
from speech_operator.timestamps import to_text

CUSTOM, VITS = RecipeSpec(custom=CustomRecipe()), RecipeSpec(vits=VitsRecipe())


def plan_of(seen: Any, now: float) -> Any:
    """The plan of a whole pass. Any: a failure that is missing fails the test anyway."""
    return reconcile(seen, now)


class TestWhatFollows:
    def test_without_an_ending_nothing(self, build: Any) -> None:
        draft = Draft(build.status())
        assert restart(build.seen(build.pod(0)), draft, build.now) is draft

    @pytest.mark.parametrize(
        ("code", "values"), [(45, ("False", "True", None)), (65, ("False", "False", "True"))]
    )
    def test_it_decides_the_pass_and_is_told_in_conditions_and_event(
        self, build: Any, code: int, values: Any
    ) -> None:
        status = st.with_condition(build.status(), Condition.RUNNING, True, "x", "", build.now)
        seen = build.seen(build.failed(0, code), build.pod(1), status=status)
        draft = restart(seen, failure(seen, Draft(status), build.now), build.now)
        assert (draft.decided, draft.status_first, draft.requeue_after) == (True, True, 0.0)
        assert [event.warning for event in draft.events] == [True]
        kinds = (Condition.RUNNING, Condition.RESTARTING, Condition.FAILED)
        found = [st.condition(draft.status, kind) for kind in kinds]
        assert tuple(one and one.status.value for one in found) == values

    @pytest.mark.parametrize("fields", [{"code": 75}, {"code": 143, "reason": "Preempted"}])
    def test_an_interruption_is_free_and_no_warning(self, build: Any, fields: Any) -> None:
        spent = Restarts(counted=20, total=20)
        pods = [build.failed(0, **fields), build.pod(1, deleting=True), build.pod(2)]
        seen = build.seen(*pods, spec=build.spec(nodes=3), status=build.status(restarts=spent))
        draft = restart(seen, failure(seen, Draft(seen.job.status), build.now), build.now)
        assert draft.status.restarts == spent
        assert [(e.reason, e.warning) for e in draft.events] == [("AttemptInterrupted", False)]
        assert [(d.name, d.grace_seconds) for d in draft.deletes] == [
            ("asr-master-0", 120),
            ("asr-worker-1", 120),
        ]

    @pytest.mark.parametrize("code", [2, 41, 65])
    def test_what_the_code_alone_forbids_charges_no_budget(self, build: Any, code: int) -> None:
        plan = plan_of(build.solo(build.failed(0, code)), build.now)
        assert (plan.status.state, plan.status.restarts) == (State.FAILED, Restarts())

    @pytest.mark.parametrize(
        ("said", "message"),
        [
            ("loss is nan", "loss is nan; no confirmed checkpoint to go back to"),
            ("no confirmed checkpoint in /runs", "no confirmed checkpoint in /runs"),
        ],
    )
    def test_that_there_is_no_checkpoint_is_said_once(
        self, build: Any, said: str, message: str
    ) -> None:
        told = build.outcome(40, message=said)
        plan = plan_of(build.solo(build.failed(0, 40, outcome=told)), build.now)
        assert plan.status.failure is not None
        assert plan.status.failure.message == message

    @pytest.mark.parametrize(("reason", "seconds"), [
        ("AttemptInterrupted", 120), ("Suspended", 120), ("Evicted", 120), ("AttemptFailed", 5), (None, 5),
    ])  # fmt: skip
    def test_who_can_still_save_has_all_of_the_grace(
        self, build: Any, reason: str | None, seconds: int
    ) -> None:
        assert grace_after(reason, build.seen()) == seconds


class TestBudgets:
    def test_the_last_restart_is_made_and_the_next_failure_ends_the_job(self, build: Any) -> None:
        policy = {"restarts": {"max": 3, "sameCause": 9}}
        for counted, state in ((2, State.RESTARTING), (3, State.FAILED)):
            status = build.status(restarts=Restarts(counted=counted))
            plan = plan_of(build.solo(build.failed(0), policy=policy, status=status), build.now)
            assert plan.status.state is state
            assert plan.status.restarts.counted == 3
        assert plan.status.failure.reason == Reason.RESTART_BUDGET_SPENT.value
        assert "restarts.max" in plan.status.failure.remedy

    def test_zero_restarts(self, build: Any) -> None:
        plan = plan_of(build.solo(build.failed(0), policy={"restarts": {"max": 0}}), build.now)
        assert plan.status.failure.reason == Reason.RESTART_BUDGET_SPENT.value

    def test_the_same_cause_again_ends_the_job(self, build: Any) -> None:
        told = build.outcome(1, message="KeyError at line 12 of 0xdeadbeef")
        cause = fingerprint(1, "", "KeyError at line 99 of 0xcafe")
        status = build.status(restarts=Restarts(2, (CauseCount(cause, 2),)))
        plan = plan_of(build.solo(build.failed(0, outcome=told), status=status), build.now)
        assert plan.status.failure.reason == Reason.SAME_CAUSE.value
        assert "third time" in plan.status.failure.message
        now = to_text(build.now)
        assert plan.status.restarts == Restarts(2, (CauseCount(cause, 3, now),), total=2)

    @pytest.mark.parametrize(
        ("times", "word"), [(1, "first"), (2, "second"), (3, "third"), (4, "4th")]
    )
    def test_the_sentence_counts_with_the_limit(self, build: Any, times: int, word: str) -> None:
        told = build.outcome(1, message="KeyError")
        before = (CauseCount(fingerprint(1, "", "KeyError"), times - 1),) if times > 1 else ()
        status = build.status(restarts=Restarts(times - 1, before))
        policy = {"restarts": {"sameCause": times, "max": 9}}
        scene = build.solo(build.failed(0, outcome=told), policy=policy, status=status)
        assert f"for the {word} time" in plan_of(scene, build.now).status.failure.message

    def test_another_cause_does_not(self, build: Any) -> None:
        cause = fingerprint(1, "", "KeyError")
        status = build.status(restarts=Restarts(1, (CauseCount(cause, 1),)))
        told = build.outcome(1, message="ValueError")
        plan = plan_of(build.solo(build.failed(0, outcome=told), status=status), build.now)
        assert plan.status.state is State.RESTARTING
        assert plan.status.restarts.counted == 2

    def test_out_of_memory_is_retried_once_whatever_same_cause_says(self, build: Any) -> None:
        policy = {"restarts": {"sameCause": 9}}
        killed = build.failed(0, 137, reason="OOMKilled")
        first = plan_of(build.solo(killed, policy=policy), build.now).status
        assert (first.state, first.attempts[-1].cause) == (State.RESTARTING, "OutOfMemory")
        status = build.status(restarts=first.restarts)
        second = plan_of(build.solo(killed, policy=policy, status=status), build.now).status
        assert second.failure.reason == Reason.SAME_CAUSE.value
        assert "memory" in second.failure.remedy
        assert second.failure.remedy.endswith("a new job with the same checkpoint.uri resumes")


class TestNonFinite:
    def test_with_a_confirmed_checkpoint_it_goes_back_to_it(self, build: Any) -> None:
        told = build.outcome(40, last_confirmed_step=500)
        plan = plan_of(build.solo(build.failed(0, 40, outcome=told)), build.now)
        assert plan.status.state is State.RESTARTING
        assert plan.status.restarts.counted == 1

    @pytest.mark.parametrize(
        ("steps", "limit", "recipe", "reason"),
        [
            pytest.param([7, 9], 2, CUSTOM, None, id="elsewhere"),
            pytest.param([7, 7, 7], 2, CUSTOM, Reason.SAME_CAUSE, id="the same again"),
            pytest.param([7, 9, 12], 2, CUSTOM, Reason.RESTART_BUDGET_SPENT, id="once too often"),
            pytest.param([7], 0, CUSTOM, Reason.RESTART_BUDGET_SPENT, id="never"),
            pytest.param([7, 9, 12], 2, VITS, Reason.SAME_CAUSE, id="our engine went back itself"),
        ],
    )
    def test_how_often_a_script_that_saves_by_itself_goes_back(
        self, build: Any, steps: list[int], limit: int, recipe: Any, reason: Reason | None
    ) -> None:
        spec = build.spec(nodes=1, health={"nonFinite": {"maxRollbacks": limit}})
        spec = spec.model_copy(update={"recipe": recipe})
        told = build.outcome(40, message="nan", rule=Rule.NON_FINITE.value, last_confirmed_step=5)
        status = build.status()
        for step in steps:
            pod = build.failed(0, 40, outcome=dataclasses.replace(told, first_bad=BadStep(step)))
            status = build.status(restarts=status.restarts)
            status = plan_of(build.seen(pod, spec=spec, status=status), build.now).status
        assert (status.failure.reason if status.failure else None) == (reason and reason.value)
        if reason is Reason.RESTART_BUDGET_SPENT:
            assert f"health.nonFinite.maxRollbacks: {limit}" in status.failure.remedy

    def test_without_one_it_fails_at_once(self, build: Any) -> None:
        bad = BadStep(7, "kl", "flow")
        told = build.outcome(40, message="loss is nan", rule=Rule.NON_FINITE.value, first_bad=bad)
        plan = plan_of(build.solo(build.failed(0, 40, outcome=told)), build.now)
        failure = plan.status.failure
        assert failure.reason == Reason.NO_CONFIRMED_CHECKPOINT.value
        assert (failure.exit_code, failure.pod) == (40, "asr-master-0")
        assert "component kl" in failure.message
        assert "module flow" in failure.message
