"""The commands against a cluster: which place is asked, what is shown, what is sent."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from api_double import CORE, JOBS, ApiDouble, status
from click.testing import Result

from speech_cli.main import COMMANDS
from speech_contract import outcome
from speech_contract.outcome import Outcome
from speech_contract.report import BadStep

Make = dict[str, Callable[..., Any]]
Call = Callable[..., Result]


def pod(name: str, told: Outcome | None = None, uid: str = "pod-1") -> dict[str, Any]:
    """A pod of the job; `told`: how it ended."""
    ended = {"terminated": {"exitCode": 40, "message": outcome.encode(told)}} if told else {}
    statuses = [{"name": "sidecar", "state": {}}, {"name": "pytorch", "state": ended}]
    return {"metadata": {"name": name, "uid": uid}, "status": {"containerStatuses": statuses}}


def event(kind: str, reason: str, about: str, uid: str, **more: Any) -> dict[str, Any]:
    """A core/v1 Event about the job or one of its pods."""
    owner = {"kind": about, "name": "voice-master-0" if about == "Pod" else "voice", "uid": uid}
    return {"type": kind, "reason": reason, "involvedObject": owner, **more}


def writes(cluster: ApiDouble) -> list[tuple[str, Any]]:
    return [(path, body) for method, path, _, body, _ in cluster.asked if method != "GET"]


# ---------------------------------------------------------------------- which place


def test_a_job_of_this_machine_comes_first(
    call: Call, runs: Any, make: Make, cluster: ApiDouble
) -> None:
    runs.jobs = {"voice": make["job"]()}
    cluster.jobs(make["nan"]())
    assert "voice: Running" in call("status", "voice").output
    assert cluster.asked == []
    assert "voice: Failed" in call("status", "voice", "--cluster").output


def test_a_job_that_is_not_here_is_looked_for_in_the_cluster(
    call: Call, runs: Any, make: Make, cluster: ApiDouble
) -> None:
    runs.jobs = {"other": make["job"]()}
    cluster.jobs(make["nan"]())
    assert "voice: Failed" in call("status", "voice").output


def test_local_never_asks_a_cluster(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.jobs(make["nan"]())
    answer = call("status", "voice", "--local")
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "no jobs in namespace 'default'" in call("status", "--local").output
    assert cluster.asked == []


@pytest.mark.parametrize("command", [c for c in COMMANDS if c in ("why", "suspend", "logs")])
def test_a_job_that_is_nowhere_names_both_places(
    call: Call, make: Make, cluster: ApiDouble, command: str
) -> None:
    cluster.jobs(make["nan"]())
    cluster.answers[f"{JOBS}/vioce"] = status(404, "not found", name="vioce")
    answer = call(command, "vioce")
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "is not in namespace 'default' below" in answer.output
    assert "is not in namespace 'speech' in context 'here'; did you mean voice?" in answer.output


def test_a_job_of_another_namespace_is_said_to_be_there(
    call: Call, runs: Any, make: Make, cluster: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.jobs(make["nan"]())
    cluster.answers[f"{JOBS}/asr"] = status(404, "not found", name="asr")
    other = make["job"]()
    other["metadata"] |= {"name": "asr", "namespace": "speech-2"}
    cluster.answers[JOBS.replace("namespaces/speech/", "")] = {"items": [other]}
    here = make["job"]()
    here["metadata"] |= {"name": "asr", "namespace": "here-2"}
    monkeypatch.setattr(runs, "list_jobs", lambda root, namespace=None: [here])
    answer = call("why", "asr")
    assert "there is one in namespace here-2: add -n here-2" in answer.output
    assert "there is one in namespace speech-2: add -n speech-2" in answer.output


def test_a_cluster_that_refuses_does_not_hide_that_the_job_is_not_here(
    call: Call, cluster: ApiDouble
) -> None:
    cluster.answers[f"{JOBS}/voice"] = status(401, "Unauthorized")
    answer = call("status", "voice")
    assert answer.exit_code == outcome.EXIT_ERROR
    assert "below" in answer.output
    assert "log in again" in answer.output


def test_without_the_package_a_mistyped_local_job_is_still_told(
    call: Call, runs: Any, make: Make, cluster: ApiDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "kubernetes.config", None)
    runs.jobs = {"voice": make["job"]()}
    answer = call("why", "vioce")
    assert "did you mean voice?" in answer.output
    assert "install speechtrain[cli]" in answer.output


def test_a_list_of_nothing_here_and_a_cluster_that_refuses(call: Call, cluster: ApiDouble) -> None:
    cluster.answers[JOBS] = status(403, "jobs is forbidden")
    answer = call("status")
    assert answer.exit_code == outcome.EXIT_ERROR
    assert "no jobs in namespace 'default' below" in answer.output
    assert "jobs is forbidden (403)" in answer.output


def test_context_and_kubeconfig_mean_the_cluster(
    call: Call, runs: Any, make: Make, cluster: ApiDouble, tmp_path: Path
) -> None:
    runs.jobs = {"voice": make["job"]()}
    cluster.jobs(make["nan"]())
    config = str(tmp_path / "kubeconfig")
    for options in (("--context", "here"), ("--kubeconfig", config)):
        assert "voice: Failed" in call("status", "voice", *options).output
    path = f"{JOBS}/voice".replace("/speech/", "/default/")
    call("status", "voice", "--context", "other")
    assert cluster.asked[-1][1] == path  # the other context has no namespace of its own
    assert call("status", "--local", "--context", "here").exit_code == outcome.EXIT_USAGE


# ---------------------------------------------------------------------- status


def test_status_lists_the_cluster_with_the_columns_of_kubectl(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["nan"]())
    header, row = call("status").output.splitlines()
    assert header.split()[:4] == ["NAME", "STATE", "REASON", "NODES"]
    assert row.split()[:4] == ["voice", "Failed", "NonFiniteBudgetSpent", "1/1"]


def test_a_list_of_this_machine_says_that_there_is_a_cluster(
    call: Call, runs: Any, make: Make, cluster: ApiDouble
) -> None:
    runs.jobs = {"voice": make["job"]()}
    answer = call("status")
    assert "--cluster" in answer.stderr
    assert "--cluster" not in answer.stdout
    assert call("status", "--local").stderr == ""


@pytest.mark.parametrize(("form", "read"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_status_as_a_document_is_what_the_api_server_has(
    call: Call, make: Make, cluster: ApiDouble, form: str, read: Callable[[str], Any]
) -> None:
    cluster.jobs(make["nan"]())
    wanted = cluster.answers[f"{JOBS}/voice"]
    assert read(call("status", "voice", "-o", form).stdout) == wanted
    assert read(call("status", "-o", form).stdout) == {"items": [wanted]}


def test_status_of_a_failed_job_tells_what_its_pod_said(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["nan"]())
    told = Outcome(1, 0, "Training", 40, "loss is nan", "NonFinite", 0, step=15,
                   first_bad=BadStep(12, module="decoder"))  # fmt: skip
    cluster.answers[f"{CORE}/pods"] = {"items": [pod("voice-master-0", told)]}
    output = call("status", "voice").output
    assert "what: loss is nan" in output
    assert "module decoder" in output
    assert "remedy: lower the learning rate" in output
    assert "next: speechtrain why voice --cluster" in output


def test_status_of_a_complete_job_claims_nothing_about_scores(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["complete"]())
    output = call("status", "voice").output
    assert "scores" not in output
    assert "run directory    run" in output


@pytest.mark.parametrize(
    ("conditions", "sentence"),
    [
        ([{"type": "Accepted", "status": "False", "reason": "InvalidSpec", "message": "spec.x: is y"}],
         "waiting for      InvalidSpec: spec.x: is y"),
        ([{"type": "Accepted", "status": "True", "reason": "SpecValid", "message": ""},
          {"type": "Running", "status": "False", "reason": "NameTaken", "message": "pod of another"}],
         "waiting for      NameTaken: pod of another"),
        ([], "the operator has not looked at this job yet"),
    ],
)  # fmt: skip
def test_status_says_what_a_job_waits_for(
    call: Call, make: Make, cluster: ApiDouble, conditions: list[Any], sentence: str
) -> None:
    cluster.jobs(make["job"]("Pending", conditions=conditions))
    assert sentence in call("status", "voice").output


# ---------------------------------------------------------------------- why


def test_why_tells_attempts_pod_events_and_the_next_step(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["nan"]())
    told = Outcome(1, 0, "Training", 40, "loss is nan", "NonFinite", 0, step=15,
                   first_bad=BadStep(12, "generator/mel", "decoder"))  # fmt: skip
    cluster.answers[f"{CORE}/pods"] = {"items": [pod("voice-master-0", told)]}
    own = event("Warning", "AttemptFailed", "SpeechTrainingJob", "uid-1", count=2,
                message="attempt 1\nended", lastTimestamp="2026-01-01T00:00:09Z")  # fmt: skip
    first = event("Normal", "AttemptStarted", "SpeechTrainingJob", "uid-1",
                  message="2 pods", eventTime="2026-01-01T00:00:01Z")  # fmt: skip
    others = [
        event("Warning", "BackOff", "Pod", "pod-1", message="image",
              series={"count": 7, "lastObservedTime": "2026-01-01T00:00:05Z"}),
        event("Warning", "Evicted", "Pod", "somebody-else", message="never shown"),
    ]  # fmt: skip

    def events(query: dict[str, list[str]]) -> dict[str, Any]:
        own_asked = query["fieldSelector"] == ["involvedObject.uid=uid-1"]
        return {"items": [own, first] if own_asked else others}

    cluster.answers[f"{CORE}/events"] = events
    assert call("why", "voice").output.splitlines() == [
        "voice: Failed, health Critical, NonFiniteBudgetSpent (exit code 40: non-finite losses or "
        "gradients beyond the budget, or a spike that did not heal)",
        "attempts  1: AttemptFailed NonFiniteBudgetSpent, exit code 40, rank 0, last step 15, "
        "from scratch",
        "first bad step 12, rank 0, loss component generator/mel, module decoder",
        "rule      NonFinite: 4 steps in a row with loss nan, steps 12 to 15 → Stopped",
        "message   loss is nan",
        "log       step 15 loss nan",
        "          all of it: speechtrain logs voice --rank 0 --cluster",
        "events    Normal AttemptStarted: 2 pods",
        "          Warning BackOff voice-master-0 ×7: image",
        "          Warning AttemptFailed ×2: attempt 1 ended",
        "next      lower the learning rate; then `kubectl delete` the job and apply it again, or "
        "apply it under another name",
    ]
    document = json.loads(call("why", "voice", "-o", "json").stdout)
    assert [row["reason"] for row in document["events"]] == [
        "AttemptStarted", "BackOff", "AttemptFailed"
    ]  # fmt: skip


def test_why_does_without_what_may_not_be_read(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.jobs(make["nan"]())
    for plural in ("pods", "events"):
        cluster.answers[f"{CORE}/{plural}"] = status(403, f"{plural} is forbidden")
    answer = call("why", "voice", "-n", "speech")
    assert answer.exit_code == 0
    assert "NonFiniteBudgetSpent" in answer.output
    assert "note      pods cannot be read: pods is forbidden (403)" in answer.output
    assert "all of it: run/logs/attempt-1/rank-0.log on the job's volume" in answer.output


def test_why_of_a_pod_that_cannot_start_points_to_the_warning(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["job"]("Starting"))
    cluster.answers[f"{CORE}/pods"] = {"items": [pod("voice-master-0")]}
    warning = event("Warning", "FailedScheduling", "Pod", "pod-1", message="0/1 nodes")
    cluster.answers[f"{CORE}/events"] = {"items": [warning]}
    output = call("why", "voice").output
    assert "Warning FailedScheduling voice-master-0: 0/1 nodes" in output
    assert output.splitlines()[-1] == "next      mend what the last warning names"


# ---------------------------------------------------------------------- logs


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ((), "voice-master-0"),
        (("--rank", "7"), "voice-master-0"),
        (("--rank", "8"), "voice-worker-0"),
        (("--node-rank", "2"), "voice-worker-1"),
    ],
)
def test_logs_are_those_of_the_pod_that_has_the_rank(
    call: Call, make: Make, cluster: ApiDouble, options: tuple[str, ...], name: str
) -> None:
    job = make["job"]()
    job["spec"]["trainer"] = {"resourcesPerNode": {"limits": {"nvidia.com/gpu": "8"}}}
    cluster.jobs(job)
    cluster.answers[f"{CORE}/pods/{name}/log"] = [b"step 1\n", b"step 2\n"]
    answer = call("logs", "voice", *options, "--tail", "7", "-f")
    assert answer.stdout == "step 1\nstep 2\n"
    assert cluster.asked[-1][2]["tailLines"] == ["7"]
    assert cluster.asked[-1][2]["follow"] == ["true"]


def test_logs_of_a_pod_that_is_gone_are_on_the_volume(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["job"](attempt=2))
    cluster.answers[f"{CORE}/pods/voice-master-0/log"] = status(
        404, "no pod", name="voice-master-0"
    )
    answer = call("logs", "voice")
    assert answer.exit_code != 0
    assert (
        "no pod; what an attempt printed is kept in run/logs/attempt-2/rank-0.log" in answer.output
    )
    answer = call("logs", "voice", "--attempt", "1")
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "the pods of attempt 1 are gone (now: 2)" in answer.output


def test_two_kinds_of_rank_are_one_too_many(call: Call, cluster: ApiDouble) -> None:
    assert call("logs", "voice", "--rank", "1", "--node-rank", "1").exit_code == outcome.EXIT_USAGE


# ---------------------------------------------------------------------- suspend, resume


def test_suspend_and_resume_patch_the_job(call: Call, make: Make, cluster: ApiDouble) -> None:
    job = make["job"]()
    cluster.jobs(job)
    answer = call("suspend", "voice")
    assert "kubectl wait --for=condition=Suspended stj/voice -n speech" in answer.output
    assert "speechtrain resume voice --cluster" in answer.output
    suspended = copy.deepcopy(job)
    suspended["spec"]["runPolicy"] = {"suspend": True}
    cluster.answers[f"{JOBS}/voice"] = suspended
    assert call("suspend", "voice").exit_code == 0  # it is so already: nothing to send
    assert "asked to go on" in call("resume", "voice").output
    assert writes(cluster) == [
        (f"{JOBS}/voice", {"spec": {"runPolicy": {"suspend": value}}}) for value in (True, False)
    ]


@pytest.mark.parametrize("command", ["suspend", "resume"])
def test_a_finished_job_is_left_alone(
    call: Call, make: Make, cluster: ApiDouble, command: str
) -> None:
    cluster.jobs(make["nan"]())
    answer = call(command, "voice")
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "voice: is Failed already" in answer.output
    assert writes(cluster) == []


def test_an_empty_log_says_where_to_look(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.jobs(make["job"]())
    cluster.answers[f"{CORE}/pods/voice-master-0/log"] = b""
    answer = call("logs", "voice")
    assert (answer.exit_code, answer.stdout) == (0, "")
    assert "nothing is printed yet; see: speechtrain why voice --cluster" in answer.stderr


# ---------------------------------------------------------------------- what nobody keeps up to date


def test_status_and_why_say_how_old_a_silent_operators_words_are(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    numbers = {"step": 3, "heardAt": "2026-01-01T00:00:00Z"}
    cluster.jobs(make["job"](progress=numbers, health={"verdict": "Healthy", "findings": []}))
    said = call("status", "voice", "--cluster").output
    assert "voice: Running, health Unknown, as of " in said
    assert "nobody has heard of this attempt for " in said
    assert " Unknown " in call("status", "--cluster").output
    told = call("why", "voice", "--cluster").output
    assert "voice: Running, health Unknown, as of " in told
    assert "next      look whether the operator runs" in told
    document = json.loads(call("status", "voice", "--cluster", "-o", "json").output)
    assert document["status"]["health"]["verdict"] == "Unknown"


def test_an_edited_spec_that_was_refused_is_not_shown_as_what_runs(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    refused = {
        "type": "Accepted",
        "status": "False",
        "reason": "ImmutableField",
        "message": "checkpoint.uri: changed",
    }
    document = make["job"](
        conditions=[refused], runDirectory="/checkpoints/voice", observedGeneration=2
    )
    document["spec"]["checkpoint"]["uri"] = "/checkpoints/other"
    cluster.jobs(document)
    said = call("status", "voice", "--cluster").output
    assert "run directory    /checkpoints/voice" in said
    assert "not applied      ImmutableField: checkpoint.uri: changed" in said
    assert "/checkpoints/other" not in said
    document["status"]["state"] = "Complete"
    assert "not applied" not in call("status", "voice", "--cluster").output


def test_a_change_that_the_operator_has_not_seen_is_told(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    document = make["job"](observedGeneration=1)
    document["metadata"]["generation"] = 2
    cluster.jobs(document)
    assert "not applied      the newest change" in call("status", "voice", "--cluster").output


def test_a_job_of_another_controller_is_not_waited_for(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    document = make["job"]("Pending")
    document["spec"]["runPolicy"] = {"managedBy": "kueue.x-k8s.io/multikueue"}
    cluster.jobs(document)
    said = call("status", "voice", "--cluster").output
    assert "waiting for      kueue.x-k8s.io/multikueue, which runPolicy.managedBy names" in said


def test_the_log_of_an_attempt_that_never_ran_is_not_offered(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs(make["job"]("Failed", attempts=[{"number": 1, "reason": "DeadlineExceeded"}]))
    assert "all of it" not in call("why", "voice", "--cluster").output
    cluster.jobs(make["nan"]())
    assert "all of it" in call("why", "voice", "--cluster").output


def test_all_namespaces_are_one_list(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.answers[JOBS.replace("namespaces/speech/", "")] = {"items": [make["job"]()]}
    lines = call("status", "-A", "--cluster").output.splitlines()
    assert lines[0].split()[:2] == ["NAMESPACE", "NAME"]
    assert lines[1].split()[:2] == ["default", "voice"]
    assert call("status", "-A", "-n", "speech").exit_code == 2


def test_an_empty_list_names_the_other_namespaces_way(
    call: Call, make: Make, cluster: ApiDouble
) -> None:
    cluster.jobs()
    assert "-A shows every namespace, -n NAME another" in call("status", "--cluster").output
