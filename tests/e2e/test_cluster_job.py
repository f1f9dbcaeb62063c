"""A voice on a real cluster: from `kubectl apply` to Complete, through what happens to jobs meanwhile."""

from __future__ import annotations

from bed.cluster import Bed
from product import jobs
from product.installed import HOME, Namespace, operator_pods

from speech_contract.reasons import State


def test_the_operator_runs_in_a_restricted_pod_under_its_own_account(bed: Bed) -> None:
    (pod,) = operator_pods(bed)
    assert pod["metadata"]["namespace"] == HOME
    assert pod["spec"]["serviceAccountName"] == "speechtrain"
    assert pod["status"]["phase"] == "Running"


def test_a_job_of_two_pods_completes(speech: Namespace) -> None:
    speech.apply(jobs.vits("voice", steps=40))
    status = speech.until_state("voice", State.COMPLETE)
    assert status["progress"]["step"] == 40
