"""A voice on a real cluster: from `kubectl apply` to Complete, through what happens to jobs meanwhile.

Each job is run once, by a fixture that keeps what it saw; the tests look at that.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from bed.cluster import Bed
from product import jobs
from product.chart import CHART
from product.installed import (
    HOME,
    RELEASE,
    Namespace,
    Object,
    kill_operator,
    operator_pods,
    reached,
)

from speech_contract import names, outcome
from speech_contract.reasons import State

VOICE, SECOND, NO_DEVICE, NIGHT = "voice", "second", "no-device", "night"
STEPS = 60
# of the release: another operator, and the job's pods closed to all who have no business with them
CHANGED = "operator.logLevel=DEBUG,networkPolicy.enabled=true,networkPolicy.jobNamespaces={speech}"

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def uids(pods: dict[str, Object]) -> dict[str, str]:
    return {name: pod["metadata"]["uid"] for name, pod in pods.items()}


@dataclass(frozen=True)
class Voice:
    """What was seen of a job whose operator was killed while it trained."""

    columns: dict[str, str]  # of `kubectl get stj`
    step_before: int
    pods: dict[str, Object]
    status_after: Object  # once the operator was back
    pods_after: dict[str, Object]
    complete: Object
    refused: str  # what a second job on its run directory was told
    pods_refused: dict[str, Object]


@pytest.fixture(scope="module")
def voice(speech: Namespace) -> Voice:
    speech.apply(jobs.vits(VOICE, steps=STEPS))
    without = jobs.vits(NO_DEVICE, steps=STEPS, runPolicy={"restarts": {"max": 0}})
    del without["spec"]["training"]["device"]  # nothing else differs
    speech.apply(without)
    step = reached(speech.until("a step of all ranks", VOICE, trains))
    columns, pods = columns_of(speech, VOICE), speech.pods(VOICE)
    refused, pods_refused = second_job(speech)
    kill_operator(speech.bed)
    after = speech.until_step(VOICE, step + 1)
    pods_after = speech.pods(VOICE)
    complete = speech.until_state(VOICE, State.COMPLETE)
    return Voice(columns, step, pods, after, pods_after, complete, refused, pods_refused)


def second_job(speech: Namespace) -> tuple[str, dict[str, Object]]:
    """What a job of another recipe on the same run directory is told, and its pods; it is deleted then."""
    uri = f"/{jobs.CHECKPOINTS}/{VOICE}"
    speech.apply(jobs.ours(SECOND, "python3", "-c", "pass", checkpoint={"uri": uri}))
    told = speech.until("the owner's name", SECOND, in_use), speech.pods(SECOND)
    speech.delete(SECOND)
    return told


def in_use(status: Object) -> str:
    """Whose the run directory is; empty while that was not said."""
    said = (c for c in status.get("conditions", []) if c.get("reason") == "RunDirectoryInUse")
    return next((str(condition["message"]) for condition in said), "")


def trains(status: Object) -> Object | None:
    """Rank 0 may be some steps on before the other pod's first step was told: that is still Starting."""
    running = status.get("state") == State.RUNNING.value
    return status if running and reached(status) >= 1 else None


def columns_of(speech: Namespace, job: str) -> dict[str, str]:
    head, row = speech.kubectl("get", names.SHORT_NAME, job).splitlines()
    return dict(zip(head.split(), row.split(), strict=True))


def test_the_operator_runs_in_a_pod_of_our_image_under_its_own_account(bed: Bed) -> None:
    (pod,) = operator_pods(bed)
    assert pod["metadata"]["namespace"] == HOME
    assert pod["spec"]["serviceAccountName"] == "speechtrain"
    assert pod["status"]["phase"] == "Running"


def test_a_job_of_two_pods_completes(voice: Voice, speech: Namespace) -> None:
    status = voice.complete
    assert status["progress"]["step"] == STEPS
    assert status["health"]["verdict"] == "Healthy"
    assert (status["attempt"], status["restarts"]["counted"]) == (1, 0)
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions["Complete"] == conditions["Accepted"] == "True"
    assert "Failed" not in conditions
    assert set(voice.pods) == {f"{VOICE}-master-0", f"{VOICE}-worker-0"}
    for pod in voice.pods.values():
        assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_a_second_job_on_its_run_directory_is_refused_by_name(voice: Voice) -> None:
    assert f"belongs to job speech/{VOICE}, which has not ended" in voice.refused
    assert voice.pods_refused == {}
    assert voice.complete["restarts"]["counted"] == 0


def test_kubectl_get_tells_how_it_goes(voice: Voice) -> None:
    seen = voice.columns
    assert (seen["NAME"], seen["STATE"], seen["NODES"]) == (VOICE, "Running", "2/2")
    assert int(seen["STEP"]) >= 1
    assert float(seen["LOSS"]) > 0
    assert (seen["HEALTH"], seen["RESTARTS"]) == ("Healthy", "0")


def test_an_operator_that_is_killed_harms_no_job(voice: Voice) -> None:
    assert uids(voice.pods_after) == uids(voice.pods)
    status = voice.status_after
    assert status["state"] in (State.RUNNING.value, State.COMPLETE.value)
    assert reached(status) > voice.step_before
    assert (status["attempt"], status["restarts"]["counted"]) == (1, 0)


def test_cpu_is_never_silent(voice: Voice, speech: Namespace) -> None:
    """The job that asked for an H200 and said nothing of the CPU."""
    status = speech.until_state(NO_DEVICE, State.FAILED)
    assert status["failure"]["exitCode"] == outcome.EXIT_OTHER_HARDWARE
    assert "asked for NVIDIA-H200, torch sees 0 devices" in status["failure"]["message"]
    assert reached(status) == 0


@dataclass(frozen=True)
class Night:
    """What was seen of a job that was suspended, resumed, evicted and deleted."""

    running: Object
    suspended: Object
    pods_suspended: dict[str, Object]
    resumed: Object
    after_eviction: Object
    releases: list[Release]  # upgraded, and rolled back
    things: list[str]  # just before it was deleted


@dataclass(frozen=True)
class Release:
    """The operator of a release of the chart, and the job that ran on meanwhile."""

    log_level: str
    pods: dict[str, str]
    status: Object


@pytest.fixture(scope="module")
def night(speech: Namespace) -> Night:
    speech.apply(jobs.vits(NIGHT, steps=5000))
    running = speech.until_step(NIGHT, 3)
    speech.patch(NIGHT, {"runPolicy": {"suspend": True}})
    suspended = speech.until_state(NIGHT, State.SUSPENDED)
    pods = speech.pods(NIGHT)
    speech.patch(NIGHT, {"runPolicy": {"suspend": False}})
    resumed = stepped_again(speech, 2)
    speech.evict(f"{NIGHT}-worker-0")
    evicted = stepped_again(speech, 3)
    releases = [
        released(speech, "upgrade", RELEASE, str(CHART), "--reuse-values", "--set", CHANGED),
        released(speech, "rollback", RELEASE),
    ]
    things = speech.left(NIGHT)
    speech.delete(NIGHT)
    return Night(running, suspended, pods, resumed, evicted, releases, things)


def released(speech: Namespace, *words: str) -> Release:
    """Change the release, and wait for the new operator and for a step that it tells of."""
    speech.bed.helm(*words, "--namespace", HOME, "--wait", "--timeout", "3m")
    status = speech.until_step(NIGHT, reached(speech.status(NIGHT)) + 1)
    (pod,) = (p for p in operator_pods(speech.bed) if not p["metadata"].get("deletionTimestamp"))
    environment = {e["name"]: e.get("value") for e in pod["spec"]["containers"][0]["env"]}
    level = str(environment["SPEECHTRAIN_OPERATOR_LOG_LEVEL"])
    return Release(level, uids(speech.pods(NIGHT)), status)


def stepped_again(speech: Namespace, attempt: int) -> Object:
    """The status once this attempt trains."""

    def trains(status: Object) -> Object | None:
        new = status.get("attempt") == attempt and status.get("state") == State.RUNNING.value
        return status if new else None

    return speech.until(f"attempt {attempt} at work", NIGHT, trains)


def test_a_suspended_job_saves_and_frees_its_devices(night: Night) -> None:
    assert night.pods_suspended == {}
    (attempt,) = night.suspended["attempts"]
    assert attempt["reason"] == "Suspended"
    assert attempt["exitCode"] == outcome.EXIT_INTERRUPTED
    assert attempt["lastStep"] >= reached(night.running)


def test_a_resumed_job_goes_on_from_there(night: Night) -> None:
    assert night.resumed["restarts"]["counted"] == 0
    first, second = night.after_eviction["attempts"][:2]
    assert (first["number"], second["number"]) == (1, 2), night.after_eviction["attempts"]
    assert second["resumedFromStep"] == first["lastStep"]


def test_an_eviction_costs_no_restart(night: Night) -> None:
    status = night.after_eviction
    assert status["restarts"]["counted"] == 0
    evicted = next(a for a in status["attempts"] if a["number"] == 2)
    assert evicted["reason"] == "AttemptInterrupted"
    assert evicted["lastStep"] >= night.suspended["attempts"][0]["lastStep"]


def test_a_release_is_upgraded_and_rolled_back_under_a_job_that_trains(night: Night) -> None:
    new, old = night.releases
    assert (new.log_level, old.log_level) == ("DEBUG", "INFO")
    assert new.pods == old.pods != {}
    for status in (new.status, old.status):
        assert (status["attempt"], status["restarts"]["counted"]) == (3, 0)
        assert status["state"] == State.RUNNING.value


def test_helm_test_finds_an_operator_that_leads(night: Night, bed: Bed) -> None:
    said = bed.helm("test", RELEASE, "--namespace", HOME, "--logs")
    assert "the operator answers, and leads" in said


def test_a_deleted_job_leaves_nothing(night: Night, voice: Voice, speech: Namespace) -> None:
    assert set(night.things) == {
        f"pod/{NIGHT}-master-0", f"pod/{NIGHT}-worker-0", f"service/{NIGHT}-master-0",
        f"configmap/{NIGHT}-attempt-3",
    }  # fmt: skip
    for finished in (VOICE, NO_DEVICE):
        speech.delete(finished)
    for job in (VOICE, NO_DEVICE, NIGHT):
        speech.until_gone(job)


def test_the_chart_grants_all_that_the_operator_asks_for(night: Night, bed: Bed) -> None:
    asked = list(bed.audit(f"system:serviceaccount:{HOME}:{RELEASE}"))
    assert asked
    refused = [event for event in asked if event["responseStatus"]["code"] in (401, 403)]
    assert refused == []
