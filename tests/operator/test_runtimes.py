"""Which runtime a job runs by, and what is said where there is none."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from speech_contract import names
from speech_contract.api.merging import Named
from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.children import CONFIG_MAP
from speech_operator.cluster.config_maps import stored
from speech_operator.cluster.runtime_records import runtime as record
from speech_operator.job_document import SpecMemory, read_job
from speech_operator.reconcile import reconcile
from speech_operator.runtimes import chosen, from_text, is_named, to_text
from speech_operator.snapshot import Platform, RuntimeRecord

CLUSTER = Platform(default_image="trainer:1", launcher_image="operator:1")
MOUNTED = {
    "trainer": {"volumeMounts": [{"name": "runs", "mountPath": "/runs"}]},
    "pod": {"volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": "runs"}}]},
    "health": {"zeroLoss": {"forSteps": 7}},
}


def runtime(generation: int = 1, **spec: Any) -> RuntimeRecord:
    document = {
        "metadata": {"name": "team", "namespace": "speech", "uid": "r", "generation": generation},
        "spec": {**MOUNTED, **spec},
    }
    return record(names.RUNTIME_KIND, document, "")


def job(build: Any, **ref: str) -> dict[str, Any]:
    document: dict[str, Any] = build.document()
    ref = {"kind": names.RUNTIME_KIND, "name": "team", **ref}
    document["spec"] |= {"runtimeRef": ref, "checkpoint": {"uri": "/runs/asr"}}
    del document["spec"]["health"]
    return document


def test_the_spec_that_all_decide_by_holds_what_the_runtime_adds(build):
    read = read_job(job(build), local=False, runtime=runtime())
    assert read.problems == ()
    assert read.spec.trainer.command == ["python3", "train.py"]
    assert read.spec.pod.volumes[0].name == "runs"
    assert read.spec.health.zero_loss.for_steps == 7


def test_a_new_generation_of_the_runtime_is_merged_anew(build):
    memory, document = SpecMemory(), job(build)
    first = read_job(document, local=False, memory=memory, runtime=runtime())
    again = read_job(document, local=False, memory=memory, runtime=runtime())
    later = read_job(
        document, local=False, memory=memory, runtime=runtime(2, accelerator="NVIDIA-H200")
    )
    assert again.spec is first.spec
    assert (first.spec.accelerator, later.spec.accelerator) == ("", "NVIDIA-H200")


@pytest.mark.parametrize(
    ("there", "reason", "words"),
    [
        ([], Reason.RUNTIME_MISSING, "names no SpeechTrainingRuntime that the operator can see; create it"),
        ([dataclasses.replace(runtime(), name="tean")], Reason.RUNTIME_MISSING, "did you mean tean?"),
        ([runtime(imagee="x")], Reason.INVALID_RUNTIME, "SpeechTrainingRuntime team: spec.imagee"),
        ([runtime(pod={})], Reason.INVALID_SPEC, "together with SpeechTrainingRuntime team (generation 1): spec."),
    ],
)  # fmt: skip
def test_a_job_without_a_good_runtime_is_refused_in_words(build, there, reason, words):
    found = chosen(Named(names.RUNTIME_KIND, "team"), there)
    read = read_job(job(build), local=False, runtime=found)
    plan = reconcile(build.seen(job=read, platform=CLUSTER), build.now)
    refusal = st.condition(plan.status, Condition.ACCEPTED)
    assert (refusal.reason, plan.creates) == (reason.value, ())
    assert words in refusal.message


def test_what_is_kept_is_read_as_it_was(build):
    kept = runtime()
    of_then = dataclasses.replace(kept, uid="")
    assert from_text(to_text(kept)) == of_then
    assert from_text("") is None
    read = read_job(job(build), local=False, runtime=kept)
    seen = build.seen(spec=read.spec, job=read, platform=CLUSTER)
    (manifest,) = build.created(reconcile(seen, build.now), CONFIG_MAP)
    found = stored({**manifest, "metadata": {**manifest["metadata"], "uid": "c"}}, "asr")
    assert found is not None
    assert found.runtime == of_then


def test_status_names_it(build):
    read = dataclasses.replace(
        read_job(job(build), local=False, runtime=runtime(4)), status=build.status(whole=False)
    )
    plan = reconcile(build.seen(job=read, spec=read.spec, platform=CLUSTER), build.now)
    named = plan.status.runtime
    assert (named.kind, named.name, named.generation) == (names.RUNTIME_KIND, "team", 4)


@pytest.mark.parametrize(
    ("document", "found"),
    [
        ({"name": "team"}, True),
        ({"name": "other"}, False),
        ({"name": "team", "kind": names.CLUSTER_RUNTIME_KIND}, False),
    ],
)
def test_who_names_a_runtime(build, document, found):
    assert is_named(runtime(), job(build, **document)) is found


def test_one_of_another_namespace_is_another(build):
    assert not is_named(dataclasses.replace(runtime(), namespace="asr"), job(build))
    of_all = dataclasses.replace(runtime(), namespace="", kind=names.CLUSTER_RUNTIME_KIND)
    assert is_named(of_all, job(build, kind=names.CLUSTER_RUNTIME_KIND))
