"""PyTorchJobs in, jobs that the contract accepts out; nothing goes without a sentence."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from speech_cli.conversion.job import Conversion, convert
from speech_cli.conversion.notes import Fate
from speech_cli.errors import UserError
from speech_contract import outcome
from speech_contract.api.validation import parse, validate

Body = dict[str, Any]
Call = Callable[..., Result]
CONTAINER = "spec.pytorchReplicaSpecs.Master.template.spec.containers[0]"
POD = "spec.pytorchReplicaSpecs.Master.template.spec"
MANIFEST = """
apiVersion: kubeflow.org/v1
kind: PyTorchJob
metadata: {name: asr, namespace: speech, labels: {team: voice}}
spec:
  nprocPerNode: "8"
  runPolicy: {cleanPodPolicy: All, backoffLimit: 3, ttlSecondsAfterFinished: 600, suspend: true,
              activeDeadlineSeconds: 3600}
  pytorchReplicaSpecs:
    Master: {replicas: 1, restartPolicy: OnFailure, template: &template {
      metadata: {labels: {app: asr}, annotations: {sidecar.istio.io/inject: "false"}},
      spec: {
        terminationGracePeriodSeconds: 90,
        nodeSelector: {nvidia.com/gpu.product: NVIDIA-H200, zone: a},
        tolerations: [{key: nvidia.com/gpu, operator: Exists}, {key: night, operator: Exists}],
        volumes: [{name: runs, persistentVolumeClaim: {claimName: runs}},
                  {name: conf, configMap: {name: conf, defaultMode: 420, items: [{key: a, path: b, mode: 256}]}},
                  {name: shm, emptyDir: {medium: Memory, sizeLimit: 64Gi}}],
        containers: [{
          name: pytorch, image: registry.example/asr:1, imagePullPolicy: Always,
          command: [torchrun], args: [train.py, --epochs, "3"],
          env: [{name: NCCL_DEBUG, value: INFO}, {name: PET_NNODES, value: "3"},
                {name: TOKEN, valueFrom: {secretKeyRef: {name: hub, key: token}}}],
          envFrom: [{configMapRef: {name: common}}],
          resources: {limits: {nvidia.com/gpu: 8}, requests: {cpu: "32"}},
          ports: [{name: pytorchjob-port, containerPort: 23456}],
          volumeMounts: [{name: runs, mountPath: /runs}, {name: shm, mountPath: /dev/shm}]}]}}}
    Worker: {replicas: 2, restartPolicy: OnFailure, template: *template}
"""


def pytorch_job() -> Body:
    """A PyTorchJob as people write it. Its two templates are equal, and not the same object."""
    found: Body = json.loads(json.dumps(yaml.safe_load(MANIFEST)))
    return found


def edited(path: str, value: Any, *, both: bool = True) -> Body:
    """The manifest with one field of the pod templates (`both`, or the master alone) or of the spec set."""
    job = pytorch_job()
    replicas = job["spec"]["pytorchReplicaSpecs"]
    kinds = ("Master", "Worker") if both else ("Master",)
    for kind in kinds:
        pod = replicas[kind]["template"]["spec"]
        roots = {"container": pod["containers"][0], "pod": pod, "spec": job["spec"]}
        root, _, field = path.partition(".")
        put(roots[root], field.split("."), copy.deepcopy(value))
    return job


def put(target: Body, steps: list[str], value: Any) -> None:
    for step in steps[:-1]:
        target = target.setdefault(step, {})
    target[steps[-1]] = value


def notes(done: Conversion, fate: Fate) -> dict[str, str]:
    return {note.field: note.text for note in done.notes if note.fate is fate}


def test_the_whole_job() -> None:
    job = convert(pytorch_job()).job
    assert job == yaml.safe_load("""
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: asr, namespace: speech, labels: {team: voice}}
spec:
  recipe: {custom: {copies: One}}
  checkpoint: {uri: /runs/asr}
  numNodes: 3
  nprocPerNode: 8
  trainer:
    image: registry.example/asr:1
    command: [torchrun]
    args: [train.py, --epochs, "3"]
    resourcesPerNode: {limits: {nvidia.com/gpu: 8}, requests: {cpu: "32"}}
    env:
      - {name: NCCL_DEBUG, value: INFO}
      - {name: TOKEN, valueFrom: {secretKeyRef: {name: hub, key: token}}}
    envFrom: [{configMapRef: {name: common}}]
    volumeMounts: [{name: runs, mountPath: /runs}]
  accelerator: NVIDIA-H200
  pod:
    labels: {app: asr}
    annotations: {sidecar.istio.io/inject: "false"}
    volumes:
      - {name: runs, persistentVolumeClaim: {claimName: runs}}
      - {name: conf, configMap: {name: conf, items: [{key: a, path: b}]}}
    nodeSelector: {zone: a}
    tolerations: [{key: night, operator: Exists}]
  runPolicy:
    cleanPodPolicy: All
    suspend: true
    activeDeadlineSeconds: 3600
    ttlSecondsAfterFinished: 600
    restarts: {max: 3}
    terminationGracePeriodSeconds: 90
""")


def test_every_field_of_the_old_job_is_in_the_table() -> None:
    table = {note.field for note in convert(pytorch_job()).notes}
    told = {
        "metadata.name", "metadata.labels", "spec.nprocPerNode", "spec.runPolicy.backoffLimit",
        "spec.pytorchReplicaSpecs.Worker.restartPolicy", "spec.pytorchReplicaSpecs.Master, Worker",
        f"{CONTAINER}.imagePullPolicy", f"{CONTAINER}.ports", f"{CONTAINER}.env[1] PET_NNODES",
        f"{CONTAINER}.resources.limits", f"{CONTAINER}.volumeMounts[1]", f"{POD}.volumes[2]",
        f"{POD}.volumes[1].configMap.defaultMode", f"{POD}.volumes[1].configMap.items[0].mode",
        f"{POD}.tolerations[0]", f"{POD}.nodeSelector[nvidia.com/gpu.product]",
    }  # fmt: skip
    assert told <= table


@pytest.mark.parametrize(
    ("path", "value", "field", "why"),
    [
        ("pod.volumes", [{"name": "runs", "hostPath": {"path": "/data"}}],
         f"{POD}.volumes[0].hostPath", "PersistentVolumeClaim"),
        ("pod.volumes", [{"name": "runs", "nfs": {"server": "x"}}],
         f"{POD}.volumes[0].nfs", "PersistentVolumeClaim"),
        ("pod.initContainers", [{"name": "fetch"}], f"{POD}.initContainers", "trainer.command"),
        ("pod.hostNetwork", True, f"{POD}.hostNetwork", "remove it"),
        ("pod.securityContext.runAsUser", 0, f"{POD}.securityContext.runAsUser", "above 0"),
        ("container.securityContext.privileged", True, f"{CONTAINER}.securityContext.privileged",
         "resource"),
        ("container.securityContext.capabilities.add", ["SYS_ADMIN"],
         f"{CONTAINER}.securityContext.capabilities.add", "remove it"),
        ("container.image", "", f"{CONTAINER}.image", "name the image"),
        ("container.name", "main", f"{CONTAINER}.name", "must be called pytorch"),
        ("container.env", [{"name": "CPUS", "valueFrom": {"resourceFieldRef": {"resource": "x"}}}],
         f"{CONTAINER}.env[0].valueFrom.resourceFieldRef", "write the value"),
        ("container.args", ["--rdzv-endpoint=$(PET_RDZV_ENDPOINT)"], "spec.trainer.command",
         "MASTER_ADDR"),
        ("spec.pytorchReplicaSpecs.Worker.replicas", 0, "spec.pytorchReplicaSpecs.Worker.replicas",
         "at least 1"),
        ("spec.pytorchReplicaSpecs.Master.replicas", 2, "spec.pytorchReplicaSpecs.Master.replicas",
         "must be 1"),
    ],
)  # fmt: skip
def test_what_the_job_cannot_do_without_is_refused(
    path: str, value: Any, field: str, why: str
) -> None:
    with pytest.raises(UserError) as caught:
        convert(edited(path, value))
    lines = caught.value.message.splitlines()
    assert any(line.startswith(f"{field}:") and why in line for line in lines), lines


def test_volumes_and_the_groups_that_reach_them_are_kept() -> None:
    claim = {
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    }
    volumes = [
        {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}},
        {"name": "scratch", "ephemeral": {"volumeClaimTemplate": claim}},
        {"name": "bucket", "csi": {"driver": "d.example.com", "readOnly": True}},
        {"name": "facts", "projected": {"sources": [{"configMap": {"name": "a"}}]}},
    ]
    groups = {"fsGroup": 2000, "supplementalGroups": [3000]}
    for field, value in (("volumes", volumes), ("securityContext", groups)):
        pod = convert(edited(f"pod.{field}", value)).job["spec"]["pod"]
        assert pod[field] == value
    told = notes(convert(pytorch_job()), Fate.CHANGED)
    assert "given to a group; 0 leaves them" in told[f"{POD}.securityContext.fsGroup"]


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ({"secret": {"name": "a"}}, "in a volume of its own"),
        ({"serviceAccountToken": {"path": "t"}}, "which no pod of a job gets"),
    ],
)
def test_a_projected_credential_is_refused(source: Body, why: str) -> None:
    facts = {"name": "facts", "projected": {"sources": [source]}}
    runs = {"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}
    with pytest.raises(UserError, match=why):
        convert(edited("pod.volumes", [runs, facts]))


def test_all_refusals_are_told_at_once() -> None:
    job = edited("pod.initContainers", [{"name": "fetch"}])
    put(job["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"], ["hostIPC"], True)
    with pytest.raises(UserError) as caught:
        convert(job)
    assert "initContainers" in caught.value.message
    assert "Worker.template.spec.hostIPC" in caught.value.message


def test_a_second_container_is_refused() -> None:
    job = pytorch_job()
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        replica["template"]["spec"]["containers"].append({"name": "sync", "image": "x"})
    with pytest.raises(UserError, match=r"containers\[1\]: 'sync' is a second container"):
        convert(job)


def test_a_container_with_another_name_is_one_sentence() -> None:
    with pytest.raises(UserError) as caught:
        convert(edited("container.name", "trainer"))
    said = caught.value.message.splitlines()
    assert [line.split(":")[0] for line in said] == [
        f"{CONTAINER}.name",
        f"{CONTAINER}.name".replace("Master", "Worker"),
    ]


POLICIES: Body = {"cleanPodPolicy": "All", "backoffLimit": 1, "ttlSecondsAfterFinished": 60,
                  "activeDeadlineSeconds": 900}  # fmt: skip


@pytest.mark.parametrize("name", POLICIES)
def test_policies_of_the_older_api_hold_on(name: str) -> None:
    job = pytorch_job()
    job["spec"]["runPolicy"] = {}
    job["spec"][name] = POLICIES[name]
    done = convert(job)
    job["spec"]["runPolicy"] = {name: job["spec"].pop(name)}
    assert done.job == convert(job).job
    assert notes(done, Fate.RENAMED)[f"spec.{name}"] == f"→ spec.runPolicy.{name}"


def test_two_values_for_one_policy_are_refused() -> None:
    with pytest.raises(
        UserError, match=r"spec\.backoffLimit: 1 differs from spec\.runPolicy\.backoffLimit: 3"
    ):
        convert(edited("spec.backoffLimit", 1))
    assert convert(edited("spec.backoffLimit", 3)).job == convert(pytorch_job()).job


@pytest.mark.parametrize(
    ("place", "field", "belongs"),
    [
        ((), "runPolicy", "spec"),
        (("spec", "pytorchReplicaSpecs"), "runPolicy", "spec"),
        (("spec", "pytorchReplicaSpecs", "Worker"), "backoffLimit", "spec.runPolicy"),
        ((), "cleanPodPolicy", "spec.runPolicy"),
        (("spec",), "schedulingPolicy", "spec.runPolicy"),
        (("spec",), "restartPolicy", "spec.pytorchReplicaSpecs.Master and Worker"),
        ((), "nprocPerNode", "spec"),
        (("spec", "runPolicy"), "backOffLimits", "spec.runPolicy"),
        (("spec", "runPolicy"), "ttlSecondsAfterFinish", "spec.runPolicy"),
    ],
)
def test_a_policy_that_stands_wrong_is_never_lost_in_silence(
    place: tuple[str, ...], field: str, belongs: str
) -> None:
    job = pytorch_job()
    put(job, [*place, field], {"suspend": True})
    with pytest.raises(UserError) as caught:
        convert(job)
    where = ".".join([*place, field])
    assert any(
        line.startswith(f"{where}:") and f"belongs below {belongs}; it had no effect" in line
        for line in caught.value.message.splitlines()
    ), caught.value.message


def test_a_generated_name_needs_one_that_stays() -> None:
    job = pytorch_job()
    del job["metadata"]["name"]
    job["metadata"]["generateName"] = "asr-"
    with pytest.raises(UserError, match=r"metadata\.generateName: 'asr-' .*--name asr-1"):
        convert(job)
    done = convert(job, name="asr-7")
    assert done.job["metadata"]["name"] == "asr-7"
    assert notes(done, Fate.CHANGED)["metadata.name"] == "asr- → asr-7, as asked"


def test_a_job_of_kueue_waits_in_the_same_queue() -> None:
    job = pytorch_job()
    job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] = "gpus"
    job["spec"]["runPolicy"]["schedulingPolicy"] = {"scheduleTimeoutSeconds": 90}
    done = convert(job)
    policy = done.job["spec"]["runPolicy"]
    assert policy["schedulingPolicy"] == {"gang": "Kueue", "scheduleTimeoutSeconds": 90}
    assert "suspend" not in policy
    assert done.job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert (
        notes(done, Fate.CHANGED)["spec.runPolicy.suspend"]
        == "unset: queue gpus lets the job start"
    )


def test_templates_that_differ_are_refused_by_name() -> None:
    with pytest.raises(UserError, match=r"'trainer\.args' differs between Master and Worker"):
        convert(edited("container.args", ["other.py"], both=False))


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("spec.elasticPolicy", {"minReplicas": 1, "rdzvBackend": "c10d"},
         "spec.elasticPolicy.minReplicas"),
        ("spec.runPolicy.managedBy", "kubeflow.org/training-operator", "spec.runPolicy.managedBy"),
        ("spec.runPolicy.schedulingPolicy", {"queue": "q"}, "spec.runPolicy.schedulingPolicy.queue"),
        ("pod.dnsPolicy", "Default", f"{POD}.dnsPolicy"),
        ("pod.brandNew", {"a": 1}, f"{POD}.brandNew"),
        ("container.livenessProbe", {"exec": {}}, f"{CONTAINER}.livenessProbe"),
        ("container.securityContext", {"allowPrivilegeEscalation": False},
         f"{CONTAINER}.securityContext.allowPrivilegeEscalation"),
    ],
)  # fmt: skip
def test_what_may_go_is_dropped_with_a_reason(path: str, value: Any, field: str) -> None:
    dropped = notes(convert(edited(path, value)), Fate.DROPPED)
    assert dropped[field]


def test_false_and_empty_fields_ask_for_nothing() -> None:
    job = edited("pod.hostNetwork", False)
    put(job["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"], ["initContainers"], [])
    assert convert(job).job["spec"]["numNodes"] == 3


@pytest.mark.parametrize(
    ("nproc", "command", "ranks", "recipe"),
    [
        ("8", ["torchrun", "x.py"], 8, {"copies": "One"}),
        ("8", ["python", "-m", "torch.distributed.run", "x.py"], 8, {"copies": "One"}),
        ("auto", ["bash", "-c", "cd /app && torchrun x.py"], None, {"copies": "One"}),
        (None, ["accelerate", "launch", "x.py"], None, {"copies": "One"}),
        ("auto", ["python", "x.py"], 1, {}),  # one process a node, whatever its GPUs
        (None, ["python", "torchrun.py"], 1, {}),
        ("1", ["python", "x.py"], 1, {}),
        ("8", ["python", "x.py"], 8, {"copies": "One"}),  # it starts its own
    ],
)
def test_a_pod_starts_as_many_processes_as_before(
    nproc: str | None, command: list[str], ranks: int | None, recipe: Body
) -> None:
    job = edited("container.command", command)
    job["spec"]["nprocPerNode"] = nproc
    spec = convert(job).job["spec"]
    assert spec.get("nprocPerNode") == ranks
    assert spec["recipe"] == {"custom": recipe}


def test_an_image_that_brings_its_command_is_not_watched_and_says_so() -> None:
    job = edited("container.command", [])
    done = convert(job)
    assert done.job["spec"]["recipe"] == {"custom": {"launcher": "None"}}
    assert "nothing watches" in notes(done, Fate.ADDED)["spec.recipe.custom.launcher"]


def test_the_working_directory_goes_into_the_command() -> None:
    trainer = convert(edited("container.workingDir", "/app")).job["spec"]["trainer"]
    assert trainer["command"] == ["/bin/sh", "-c", 'cd "$0" && exec "$@"', "/app", "torchrun"]
    job = edited("container.workingDir", "/app")
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        del replica["template"]["spec"]["containers"][0]["command"]
    with pytest.raises(UserError, match="workingDir: '/app' needs a command"):
        convert(job)


def test_the_run_directory_is_asked_for_found_or_ephemeral() -> None:
    assert convert(pytorch_job(), "/runs/mine").job["spec"]["checkpoint"] == {"uri": "/runs/mine"}
    job = edited("container.volumeMounts", [{"name": "conf", "mountPath": "/conf"}])
    checkpoint = convert(job).job["spec"]["checkpoint"]
    assert checkpoint == {"uri": "/tmp/asr", "ephemeral": True}
    with pytest.raises(UserError, match=r"checkpoint\.uri: '/elsewhere' lies on no volume"):
        convert(pytorch_job(), "/elsewhere")


def test_never_means_no_restart() -> None:
    job = pytorch_job()
    del job["spec"]["runPolicy"]["backoffLimit"]
    for replica in job["spec"]["pytorchReplicaSpecs"].values():
        replica["restartPolicy"] = "Never"
    assert convert(job).job["spec"]["runPolicy"]["restarts"] == {"max": 0}


@pytest.mark.parametrize(("kinds", "nodes"), [(["master"], 1), (["Worker"], 2), (["MASTER", "worker"], 3)])  # fmt: skip
def test_replicas_become_nodes_whatever_their_case(kinds: list[str], nodes: int) -> None:
    job = pytorch_job()
    given_replicas = job["spec"]["pytorchReplicaSpecs"]
    replicas = {kind: given_replicas[kind.capitalize()] for kind in kinds}
    job["spec"]["pytorchReplicaSpecs"] = replicas
    assert convert(job).job["spec"]["numNodes"] == nodes


@pytest.mark.parametrize(
    ("document", "sentence"),
    [
        ({"apiVersion": "batch/v1", "kind": "Job"}, "is Job of batch/v1, no PyTorchJob"),
        ({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob"}, "metadata.name: is missing"),
        ({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": []}, "spec: [] is no object"),
        ({"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": {"name": "a"}},
         "has neither Master nor Worker"),
    ],
)  # fmt: skip
def test_what_is_no_whole_pytorchjob_is_refused(document: Body, sentence: str) -> None:
    with pytest.raises(UserError) as caught:
        convert(document)
    assert sentence in caught.value.message


JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)
PLACES = st.sampled_from(
    ["container.env", "container.command", "container.resources", "container.volumeMounts",
     "container.securityContext", "container.securityContext.capabilities", "container.image",
     "container.envFrom", "pod.volumes", "pod.tolerations", "pod.nodeSelector", "pod.containers",
     "pod.securityContext", "pod.affinity", "pod.terminationGracePeriodSeconds", "spec.runPolicy",
     "spec.elasticPolicy", "spec.nprocPerNode", "spec.pytorchReplicaSpecs",
     "spec.pytorchReplicaSpecs.Worker", "spec.runPolicy.schedulingPolicy"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(PLACES, JUNK)
def test_whatever_is_written_ends_in_a_valid_job_or_in_sentences(place: str, value: Any) -> None:
    try:
        done = convert(edited(place, value, both=False))
    except UserError as error:
        problems = [line for line in error.message.splitlines() if "; " not in line]
    else:
        problems = list(map(str, validate(done.job)))
    assert problems == []


# ---------------------------------------------------------------------- the command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "job.yaml"
    path.write_text(MANIFEST, encoding="utf-8")
    return path


@pytest.mark.parametrize(("form", "read"), [("yaml", yaml.safe_load), ("json", json.loads)])
def test_the_manifest_is_on_standard_output_and_the_table_beside_it(
    call: Call, file: Path, form: str, read: Callable[[str], Any]
) -> None:
    answer = call("convert", file, "-o", form)
    assert answer.exit_code == 0
    assert parse(read(answer.stdout)).spec.num_nodes == 3
    lines = answer.stderr.splitlines()
    assert all(line.startswith("# ") for line in lines)
    assert "# renamed  spec.runPolicy.backoffLimit  → spec.runPolicy.restarts.max: 3" in lines


def test_other_documents_are_left_out_and_named(call: Call, file: Path) -> None:
    claim = "apiVersion: v1\nkind: PersistentVolumeClaim\n---\n"
    second = MANIFEST.replace("name: asr,", "name: tts,")
    file.write_text(f"{claim}{MANIFEST}---{second}", encoding="utf-8")
    answer = call("convert", file)
    assert [d["metadata"]["name"] for d in yaml.safe_load_all(answer.stdout)] == ["asr", "tts"]
    assert "PersistentVolumeClaim left out; apply it as it is" in answer.stderr


def test_a_refusal_prints_no_manifest(call: Call, file: Path) -> None:
    text = MANIFEST.replace("persistentVolumeClaim: {claimName: runs}", "hostPath: {path: /runs}")
    file.write_text(text, encoding="utf-8")
    answer = call("convert", file)
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert answer.stdout == ""
    assert f"{file}: asr: {POD}.volumes[0].hostPath" in answer.stderr


def test_one_name_is_for_one_job(call: Call, file: Path) -> None:
    assert "name: tts" in call("convert", file, "--name", "tts").stdout
    file.write_text(f"{MANIFEST}---{MANIFEST}", encoding="utf-8")
    answer = call("convert", file, "--name", "tts")
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "--name: 'tts' for 2 jobs" in answer.stderr


def test_a_file_without_pytorchjob_says_what_is_in_it(call: Call, file: Path) -> None:
    file.write_text("kind: Deployment\n", encoding="utf-8")
    answer = call("convert", file)
    assert answer.exit_code == outcome.EXIT_BAD_CONFIG
    assert "holds no PyTorchJob but Deployment" in answer.output
