"""Bad manifests, each refused with the field, the value, the rule and a remedy; good ones let through."""

from __future__ import annotations

import datetime
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from speech_contract import api, env
from speech_contract.api.base import MAX_ITEMS, MAX_TEXT
from speech_contract.recipes import Preset, RecipeSpec
from speech_contract.thresholds import Thresholds

Bend = Callable[..., dict[str, Any]]

# path to bend, value, field that the message names, words that it must hold
BAD = [
    ("spec.training.maxSteps", 0, "", "is below 1"),
    ("spec.training.maxSteps", "20", "", "without quotes: 20"),
    ("spec.training.maxSteps", 2.5, "", "is no whole number"),
    ("spec.training.maxSteps", True, "", "is no whole number"),
    ("spec.training.maxSteps", 2**60, "", "is larger than"),
    ("spec.training.maxstep", 5, "", "did you mean maxSteps?"),
    ("spec.training.max_steps", 5, "", "did you mean maxSteps?"),
    ("spec.training.learningrate", "1", "", "did you mean spec.recipe.vits.learningRate?"),
    ("spec.training.seed", -1, "", "is below 0"),
    ("spec.training.logEverySteps", 0, "", "is below 1"),
    ("spec.training.precision", "FP16", "", "use one of FP32, BF16"),
    ("spec.training", "fast", "", "is no object"),
    ("spec.recipe.vits.learningrate", "2e-4", "", "did you mean learningRate?"),
    ("spec.recipe.vits.learningRate", 2e-4, "", 'put it in quotes: "0.0002"'),
    ("spec.recipe.vits.learningRate", "fast", "", "is no number"),
    ("spec.recipe.vits.learningRate", "nan", "", "is not finite"),
    ("spec.recipe.vits.learningRate", "0", "", "is not above 0"),
    ("spec.recipe.vits.preset", "Bse", "", "use one of Debug, Base"),
    ("spec.recipe.vits.adversarialStartStep", -1, "", "is below 0"),
    ("spec.recipe.melody", {}, "", "is an unknown field"),
    ("spec.recipe.custom", {}, "spec.recipe", "set exactly one"),
    ("spec.recipe", {}, "", f"sets none of {', '.join(RecipeSpec.names())}"),
    ("spec.data", None, "spec.data.train.manifest", "is missing"),
    ("spec.data.train", {}, "spec.data.train", "sets none of manifest, folder; set exactly one"),
    ("spec.data.train.folder", "/data", "spec.data.train", "sets manifest and folder of"),
    ("spec.data.train", {"folder": "/data"}, "spec.data.train.folder", "which recipe vits needs"),
    (
        "spec.data.validation",
        {"folder": "/data"},
        "spec.data.validation.folder",
        "write data.validation.manifest",
    ),
    ("spec.data.train", {"folder": ""}, "spec.data.train.folder", "is empty"),
    ("spec.data.train", {"folder": "a"}, "spec.data.train.folder", "is relative"),
    ("spec.data.train", {"foldr": "/a"}, "spec.data.train.foldr", "did you mean folder?"),
    ("spec.data.train.manifest", "s3://bucket/a.jsonl", "", "is no file path"),
    ("spec.data.train.manifest", "a.jsonl", "", "is relative"),
    ("spec.data.train.manifest", "/data/../etc/a.jsonl", "", "goes up by `..`"),
    ("spec.data.train.manifest", "/data/a\x1b[2J.jsonl", "", "holds a control character"),
    ("spec.checkpoint.uri", "/checkpoints/../tmp/x", "", "goes up by `..`"),
    ("spec.checkpoint.uri", "/checkpoints/a\nb", "", "holds a control character"),
    ("spec.data.train.manifest", "", "", "is empty"),
    ("spec.data.maxSamples", 0, "", "is below 1"),
    ("spec.checkpoint", None, "", "is missing"),
    ("spec.checkpoint.uri", "runs/x", "", "is relative"),
    ("spec.checkpoint.uri", "/scratch/x", "", "lies on no volume"),
    ("spec.checkpoint.keepLast", 0, "", "is below 1"),
    ("spec.checkpoint.everystep", 5, "", "did you mean everySteps?"),
    ("spec.numNodes", 0, "", "is below 1"),
    ("spec.numNodes", 5000, "", "is above 4096"),
    ("spec.numnodes", 2, "", "did you mean numNodes?"),
    ("spec.nprocPerNode", "auto", "", "is no whole number"),
    ("spec.maxSteps", 5, "", "did you mean spec.training.maxSteps?"),
    ("spec.trainer.command", ["sleep"], "", "for the custom recipe alone"),
    ("spec.trainer.args", ["1"], "", "for the custom recipe alone"),
    ("spec.trainer.args", "1", "", "is no list"),
    ("spec.trainer.image", None, None, None),
    ("spec.trainer.env.0.name", "MASTER_ADDR", "spec.trainer.env[0].name", "set by the operator"),
    ("spec.trainer.env.0.name", "PET_ANYTHING", "spec.trainer.env[0].name", "set by the operator"),
    ("spec.trainer.env.0.name", env.RUN_DIR, "spec.trainer.env[0].name", "set by the operator"),
    ("spec.trainer.env.0.name", env.WRAP_RECIPE, None, None),
    ("spec.trainer.env.0.name", "1X", "spec.trainer.env[0].name", "has not the form"),
    ("spec.trainer.env.0.value", 1, "spec.trainer.env[0].value", 'put it in quotes: "1"'),
    ("spec.trainer.env.0.valueFrom", {}, "spec.trainer.env[0].valueFrom", "set exactly one"),
    (
        "spec.trainer.env.0.valueFrom",
        {"fieldRef": {"fieldPath": "metadata.uid"}},
        "spec.trainer.env[0]",
        "sets value, valueFrom",
    ),
    (
        "spec.trainer.env",
        [{"name": "A", "value": "1"}, {"name": "A", "value": "2"}],
        "spec.trainer.env[1].name",
        "is there twice",
    ),
    ("spec.trainer.env", [{"name": "A", "value": "x\0y"}], "spec.trainer.env[0].value", "a NUL"),
    *(
        ("spec.trainer.volumeMounts.1.subPath", path, "spec.trainer.volumeMounts[1].subPath", words)
        for path, words in (("../x", "goes up by `..`"), ("/x", "is absolute"), ("a\nb", "control"))
    ),
    ("spec.trainer.envFrom", [{}], "spec.trainer.envFrom[0]", "sets none of"),
    (
        "spec.trainer.volumeMounts.0.name",
        "run",
        "spec.trainer.volumeMounts[0].name",
        "did you mean runs?",
    ),
    *(
        (
            "spec.trainer.volumeMounts.1.mountPath",
            path,
            "spec.trainer.volumeMounts[1].mountPath",
            words,
        )
        for path, words in (
            ("/", "covers /speechtrain"),
            ("/.", "covers /speechtrain"),
            ("//", "covers /speechtrain"),
            ("/da:ta", "holds a colon"),
            ("/dev/shm", "covers /dev"),
            ("/proc/x", "covers /proc"),
            ("/opt", "covers /opt/speechtrain"),
            ("/data/../etc", "goes up by `..`"),
        )
    ),
    (
        "spec.trainer.volumeMounts.1.mountPath",
        "/etc/speechtrain/x",
        "spec.trainer.volumeMounts[1].mountPath",
        "covers /etc/speechtrain",
    ),
    (
        "spec.trainer.volumeMounts.1.mountPath",
        "data",
        "spec.trainer.volumeMounts[1].mountPath",
        "has not the form",
    ),
    ("spec.trainer.securityContext.privileged", True, "", "is an unknown field"),
    ("spec.trainer.securityContext.runAsUser", 0, "", "is below 1"),
    (
        "spec.trainer.securityContext.capabilities",
        {"add": ["SYS_ADMIN"]},
        "spec.trainer.securityContext.capabilities.add[0]",
        "use one of IPC_LOCK",
    ),
    ("spec.trainer.resourcesPerNode.limits.memory", "9 gigs", "", "has not the form"),
    ("spec.trainer.resourcesPerNode.limits.memory", 1.5, "", "is no text"),
    ("spec.pod.hostNetwork", True, "", "is an unknown field"),
    ("spec.pod.volumes.0.hostPath", {"path": "/"}, "spec.pod.volumes[0].hostPath", "unknown field"),
    ("spec.pod.volumes.0.emptyDir", {}, "spec.pod.volumes[0]", "set exactly one"),
    ("spec.pod.volumes.0", {"name": "runs"}, "spec.pod.volumes[0]", "sets none of"),
    (
        "spec.pod.volumes.0",
        {"name": "runs", "emptyDir": {}},
        "spec.checkpoint.uri",
        "lies on the emptyDir runs",
    ),
    (
        "spec.pod.volumes.0",
        {"name": "runs", "projected": {"sources": [{"configMap": {"name": "a"}}]}},
        "spec.checkpoint.uri",
        "lies on the projected runs and would be lost",
    ),
    (
        "spec.pod.volumes.0",
        {"name": "runs", "csi": {"driver": "disk.example.com"}},
        "spec.checkpoint.uri",
        "lies on the csi runs",
    ),
    *(
        (f"spec.pod.volumes.1.{path}", value, f"spec.pod.volumes[1].{field}", words)
        for path, value, field, words in (
            ("csi", {"drivr": "d"}, "csi.drivr", "did you mean driver?"),
            (
                "csi",
                {"driver": "d", "volumeAttributes": {"a": 1}},
                "csi.volumeAttributes.a",
                "in quotes",
            ),
            ("ephemeral", {}, "ephemeral.volumeClaimTemplate", "is missing"),
            (
                "ephemeral",
                {
                    "volumeClaimTemplate": {
                        "spec": {"accessModes": [], "resources": {"requests": {}}}
                    }
                },
                "ephemeral.volumeClaimTemplate.spec.accessModes",
                "at least 1 item",
            ),
            (
                "ephemeral",
                {
                    "volumeClaimTemplate": {
                        "spec": {"accessModes": ["RWX"], "resources": {"requests": {}}}
                    }
                },
                "ephemeral.volumeClaimTemplate.spec.accessModes[0]",
                "use one of ReadWriteOnce",
            ),
            (
                "ephemeral",
                {"volumeClaimTemplate": {"spec": {"volumeMode": "Block"}}},
                "ephemeral.volumeClaimTemplate.spec.volumeMode",
                "is an unknown field",
            ),
            (
                "projected",
                {"sources": [{}]},
                "projected.sources[0]",
                "sets none of configMap, downwardAPI",
            ),
            (
                "projected",
                {"sources": [{"secret": {"name": "a"}}]},
                "projected.sources[0].secret",
                "name the Secret in a volume of its own",
            ),
            (
                "projected",
                {"sources": [{"serviceAccountToken": {"path": "t"}}]},
                "projected.sources[0].serviceAccountToken",
                "which no pod of a job gets; give the pods an account by pod.serviceAccountName",
            ),
        )
    ),
    (
        "spec.pod.securityContext",
        {"runAsUser": 0},
        "spec.pod.securityContext.runAsUser",
        "unknown field",
    ),
    ("spec.pod.securityContext", {"fsGroup": -1}, "spec.pod.securityContext.fsGroup", "is below 0"),
    ("spec.pod.affinity.nodeaffinity", {}, "", "did you mean nodeAffinity?"),
    (
        "spec.pod.labels",
        {"speechtrain.dev/job-name": "x"},
        "spec.pod.labels[speechtrain.dev/job-name]",
        "which the operator writes",
    ),
    ("spec.pod.tolerations", [{"effect": "Never"}], "spec.pod.tolerations[0].effect", "use one of"),
    ("spec.health.mode", "On", "", "use one of Enforce, Notify, Off"),
    ("spec.health.nonFinite.onExceeded", "Restart", "", "use one of Warn, Rollback, Stop"),
    ("spec.health.zeroLoss.forSteps", 0, "", "is below 1"),
    ("spec.health.skippedSamples.maxRatio", "1.5", "", "is above 1"),
    ("spec.health.skippedSamples.maxRatio", 0.05, "", 'in quotes: "0.05"'),
    ("spec.health.zeroloss", {}, "", "did you mean zeroLoss?"),
    ("spec.health.preflight.timeout", 3, "", "is an unknown field"),
    ("spec.health.preflight.timeoutSeconds", 0, "", "is below 1"),
    ("spec.runPolicy.suspend", "yes", "", "is neither true nor false"),
    ("spec.runPolicy.cleanPodPolicy", "Some", "", "use one of None, Running, All"),
    ("spec.runPolicy.restarts.sameCause", 0, "", "is below 1"),
    (
        "spec.runPolicy.restarts.perWindow",
        {"max": 0},
        "spec.runPolicy.restarts.perWindow.max",
        "is below 1",
    ),
    (
        "spec.runPolicy.restarts.perWindow",
        {"max": 101},
        "spec.runPolicy.restarts.perWindow.max",
        "is above 100",
    ),
    (
        "spec.runPolicy.restarts.perWindow",
        {"hours": 6},
        "spec.runPolicy.restarts.perWindow.hours",
        "is an unknown field",
    ),
    ("spec.runPolicy.restarts.resetAfterSteps", -1, "", "is below 0"),
    ("spec.runPolicy.restarts.resetAfter", 9, "", "did you mean resetAfterSteps"),
    ("spec.runPolicy.schedulingPolicies", {}, "", "did you mean schedulingPolicy"),
    (
        "spec.runPolicy.schedulingPolicy",
        {"gang": "Kubernetes"},
        "spec.runPolicy.schedulingPolicy.gang",
        "use None, which gives half a gang back, or Kueue",
    ),
    (
        "spec.runPolicy.schedulingPolicy",
        {"gang": "Volcano"},
        "spec.runPolicy.schedulingPolicy.gang",
        "use one of None, Kueue",
    ),
    (
        "spec.runPolicy.schedulingPolicy",
        {"queue": "q"},
        "spec.runPolicy.schedulingPolicy.queue",
        "is for gang: Kueue alone",
    ),
    (
        "spec.runPolicy.schedulingPolicy",
        {"scheduleTimeoutSeconds": 0},
        "spec.runPolicy.schedulingPolicy.scheduleTimeoutSeconds",
        "is below 1",
    ),
    ("metadata.name", "Telugu", "", "is no DNS label"),
    ("metadata.name", "1a", "", "is no DNS label"),
    ("metadata.name", "a-", "", "is no DNS label"),
    ("metadata.name", "a" * 55, "", "shorten it by 1"),
    ("metadata.name", None, "", "is missing"),
    ("apiVersion", "v1", "", "use one of speechtrain.dev/v1alpha1"),
    ("kind", "PyTorchJob", "", "use one of SpeechTrainingJob"),
    ("extra", 1, "", "is an unknown field"),
]
FINE = [(path, value) for path, value, field, _ in BAD if field is None]


@pytest.mark.parametrize(
    ("path", "value", "field", "words"), [row for row in BAD if row[2] is not None]
)
def test_a_bad_value_is_refused_by_name(
    bend: Bend, path: str, value: Any, field: str, words: str
) -> None:
    problems = {problem.field: problem for problem in api.validate(bend(path, value))}
    assert (field or path) in problems, [str(problem) for problem in problems.values()]
    problem = problems[field or path]
    assert words in str(problem)
    assert problem.remedy


@pytest.mark.parametrize(("path", "value"), FINE)
def test_what_looks_odd_but_is_right_is_let_through(bend: Bend, path: str, value: Any) -> None:
    assert api.validate(bend(path, value)) == []


def test_a_good_manifest_becomes_a_job(good: dict[str, Any]) -> None:
    job = api.parse(good)
    assert job.metadata.namespace == "speech"
    assert job.spec.recipe.vits is not None
    assert job.spec.recipe.vits.preset is Preset.BASE
    assert job.spec.training.max_steps == 20000
    assert job.spec.trainer.resources_per_node.limits == {"nvidia.com/gpu": "8", "memory": "900Gi"}
    assert job.spec.health.zero_loss.for_steps == 10
    assert job.spec.health.stall == Thresholds().stall


def test_the_spec_with_defaults_parses_to_itself(good: dict[str, Any]) -> None:
    job = api.parse(good)
    assert api.parse({**good, "spec": api.spec_document(job.spec)}) == job


def test_one_machine_needs_neither_volumes_nor_absolute_paths(custom: dict[str, Any]) -> None:
    assert api.validate(custom, local=True) == []
    assert [problem.field for problem in api.validate(custom)] == ["spec.checkpoint.uri"]


def test_a_custom_job_on_one_machine_needs_its_command(custom: dict[str, Any]) -> None:
    custom["spec"]["trainer"] = {}
    custom["spec"]["recipe"]["custom"] = {"launcher": "Image"}
    custom["spec"]["checkpoint"] = {"uri": "/run", "ephemeral": True}
    assert api.validate(custom) == []
    (problem,) = api.validate(custom, local=True)
    assert problem.field == "spec.trainer.command"


def test_every_problem_is_told_at_once(bend: Bend) -> None:
    document = bend("spec.training.maxSteps", 0)
    document["spec"]["numNodes"] = 0
    with pytest.raises(api.InvalidJob) as caught:
        api.parse(document)
    assert len(caught.value.problems) == 2
    assert len(str(caught.value).splitlines()) == 2


def test_status_and_nulls_are_left_out_as_an_api_server_does(bend: Bend) -> None:
    document = bend("spec.training.globalBatchSize", None)
    document["status"] = {"attempt": "hostile"}
    assert api.validate(document) == []


@pytest.mark.parametrize("document", [None, [], "text", 3, {}])
def test_what_is_no_manifest_is_refused(document: Any) -> None:
    assert api.validate(document)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("x" * (MAX_TEXT + 1), "is longer than"),
        ({str(i): "" for i in range(MAX_ITEMS + 1)}, "has more than"),
        ({1: "x"}, "is no text but a key"),
        ({"a": math.nan}, "is not finite"),
        ({"a": datetime.date(2026, 1, 1)}, "spec.pod.labels.a"),
    ],
)
def test_oversized_and_foreign_values_are_refused(bend: Bend, value: Any, words: str) -> None:
    problems = api.validate(bend("spec.pod.labels", value))
    if words.startswith("spec"):
        assert problems == []  # YAML reads a bare date as one; it is passed on as the text it was
    else:
        assert words in str(problems[0])


def test_a_manifest_without_end_is_refused() -> None:
    endless: dict[str, Any] = {}
    endless["spec"] = endless
    (problem,) = api.validate(endless)
    assert "nested too deep" in str(problem)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=12,
)
PLACES = sorted({path for path, *_ in BAD if not path.endswith(".0")})


@given(path=st.sampled_from(PLACES), value=JSON)
def test_whatever_stands_anywhere_is_accepted_or_explained(path: str, value: Any) -> None:
    document: dict[str, Any] = {"apiVersion": "speechtrain.dev/v1alpha1", "spec": {}}
    node: Any = document
    *parents, last = path.split(".")
    for step in parents:
        node = node.setdefault(step, {})
    node[last] = value
    for problem in api.validate(document):
        assert problem.rule
        assert problem.remedy
        assert len(str(problem)) < 2000


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("/", "is the root of the file system; write a directory"),
        ("/.//", "is the root of the file system"),
        ("~/x", "begins with `~`, which a shell alone makes a home directory"),
        ("~", "begins with `~`"),
    ],
)
def test_a_run_directory_that_nobody_means(custom: dict[str, Any], uri: str, words: str) -> None:
    custom["spec"]["checkpoint"]["uri"] = uri
    (problem,) = api.validate(custom, local=True)
    assert words in str(problem)
