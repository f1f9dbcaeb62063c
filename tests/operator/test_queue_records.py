"""What is kept of Kueue's objects, and how a fact is stated in the status of one."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from speech_operator.children import WORKLOAD
from speech_operator.cluster.base import JobKey
from speech_operator.cluster.kueue_records import INACTIVE, flavor, priority, workload
from speech_operator.cluster.marks import marked, put_mark
from speech_operator.cluster.rest import Answer, Rest
from speech_operator.plan import Fact, Mark
from speech_operator.snapshot import (
    Assignment,
    FlavorRecord,
    PriorityRecord,
    WorkloadRecord,
)

NAME = "speechtrainingjob-asr"
PLACE = WorkloadRecord(NAME, "w1", "u", queue="team")


class TestRecords:
    def document(self, conditions: list[tuple[str, str, str, str]], **more: Any) -> dict[str, Any]:
        listed = [
            {"type": kind, "status": value, "reason": reason, "message": message}
            for kind, value, reason, message in conditions
        ]
        metadata = {
            "name": NAME,
            "uid": "w1",
            "ownerReferences": [{"uid": "u", "controller": True}],
        }
        spec = {"queueName": "team", **more.pop("spec", {})}
        return {"metadata": metadata, "spec": spec, "status": {"conditions": listed, **more}}

    def test_a_workload_that_waits(self) -> None:
        made = workload(
            self.document([("QuotaReserved", "False", "Pending", "insufficient quota")]), "asr"
        )
        assert made == WorkloadRecord(NAME, "w1", "u", queue="team", words="insufficient quota")
        assert not made.holds

    def test_one_that_is_admitted(self) -> None:
        admission = {
            "clusterQueue": "gpus",
            "podSetAssignments": [
                {"name": "master", "flavors": {"nvidia.com/gpu": "h200", "cpu": "h200", "a": "x"}}
            ],
        }
        update = {
            "name": "master", "nodeSelector": {"pool": "p"}, "labels": {"l": "1"},
            "annotations": {"n": "2"}, "tolerations": [{"key": "spot"}],
        }  # fmt: skip
        checks = [{"name": "dws", "state": "Ready", "message": "", "podSetUpdates": [update]}]
        made = workload(
            self.document(
                [("QuotaReserved", "True", "", "x"), ("Admitted", "True", "", "x")],
                admission=admission, admissionChecks=checks,
            ), "asr",
        )  # fmt: skip
        assert (made.holds, made.cluster_queue, made.words) == (True, "gpus", "")
        assert made.assignments == {
            "master": Assignment(
                ("x", "h200"), {"pool": "p"}, ({"key": "spot"},), {"l": "1"}, {"n": "2"}
            )
        }

    @pytest.mark.parametrize(
        ("conditions", "more", "words"),
        [
            ([("Evicted", "True", "Preempted", "for w2"), ("QuotaReserved", "True", "", "")], {},
             "for w2"),
            ([("Evicted", "True", "PodsReadyTimeout", "slow"), ("QuotaReserved", "False", "", "no")],
             {"requeueState": {"requeueAt": "2026-01-01T00:00:00Z"}},
             "slow; queued again at 2026-01-01T00:00:00Z"),
            ([("QuotaReserved", "True", "", "yes"), ("Admitted", "False", "", "not all checks ready")],
             {"admissionChecks": [{"name": "dws", "state": "Pending", "message": "no machine yet"}]},
             "not all checks ready; dws: no machine yet"),
            ([("QuotaReserved", "False", "", "x")], {"spec": {"active": False}}, INACTIVE),
        ],
    )  # fmt: skip
    def test_its_words(self, conditions: Any, more: Any, words: str) -> None:
        assert workload(self.document(conditions, **more), "asr").words == words

    def test_one_that_is_evicted_or_over_holds_nothing(self) -> None:
        for kind in ("Evicted", "Finished"):
            made = workload(
                self.document([("Admitted", "True", "", ""), (kind, "True", "Why", "")]), "asr"
            )
            assert (made.admitted, made.holds) == (True, False)

    def test_flavors_and_classes(self) -> None:
        metadata = {"name": "h200", "uid": "f1"}
        toleration = {"key": "gpu", "operator": "Exists", "effect": "NoSchedule"}
        spec = {"nodeLabels": {"gpu": "H200"}, "tolerations": [toleration]}
        found = flavor({"metadata": metadata, "spec": spec}, "")
        assert found == FlavorRecord("h200", "f1", {"gpu": "H200"}, (toleration,))
        made = priority({"metadata": metadata, "value": 7, "globalDefault": True}, "")
        assert made == PriorityRecord("h200", "f1", 7, default=True)


class TestMarks:
    def test_facts_are_added_and_what_reads_so_stays(self) -> None:
        old = {
            "type": "QuotaReserved", "status": "True", "reason": "QuotaReserved", "message": "m",
            "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1,
        }  # fmt: skip
        other = {**old, "type": "Evicted"}
        status = {"conditions": [old, other], "admission": {"clusterQueue": "gpus"}, "x": 1}
        mark = Mark(
            WORKLOAD, PLACE, (Fact("QuotaReserved", False, "Pending", "w"),), ("admission",)
        )
        changed = marked(status, mark, 3, "2026-02-02T00:00:00Z")
        assert changed == {
            "conditions": [
                other,
                {"type": "QuotaReserved", "status": "False", "reason": "Pending", "message": "w",
                 "lastTransitionTime": "2026-02-02T00:00:00Z", "observedGeneration": 3},
            ],
            "x": 1,
        }  # fmt: skip
        assert marked(changed, mark, 4, "2026-03-03T00:00:00Z") == changed

    def test_a_new_reason_is_no_transition(self) -> None:
        mark = Mark(WORKLOAD, PLACE, (Fact("Admitted", False, "NoReservation", ""),))
        first = marked({}, mark, None, "2026-01-01T00:00:00Z")
        other = dataclasses.replace(mark, facts=(Fact("Admitted", False, "Finished", ""),))
        (condition,) = marked(first, other, None, "2026-02-02T00:00:00Z")["conditions"]
        assert condition["reason"] == "Finished"
        assert condition["lastTransitionTime"] == "2026-01-01T00:00:00Z"


class Server:
    """A transport that has one Workload, and keeps what is written of it."""

    def __init__(self, document: Any) -> None:
        self.document = document
        self.written: list[Any] = []

    async def send(self, method: str, path: str, body: Any, timeout_seconds: float) -> Answer:
        if method == "PUT":
            self.written.append((path, body["metadata"]["resourceVersion"], body["status"]))
        return Answer(200, json.dumps(self.document).encode())

    async def stream(self, path: str, timeout_seconds: float) -> Any:
        raise NotImplementedError
        yield b""


@pytest.mark.parametrize("admitted_anew", [False, True])
async def test_a_fact_is_stated_only_of_what_it_was_decided_on(admitted_anew: bool) -> None:
    told = [("Evicted", "True", "Preempted", "w"), ("QuotaReserved", "True", "", "")]
    document = TestRecords().document(told)
    document["metadata"]["resourceVersion"] = "9"
    mark = Mark(
        WORKLOAD, workload(document, "asr"), (Fact("QuotaReserved", False, "Pending", "w"),)
    )
    if admitted_anew:
        document["status"]["conditions"][0]["status"] = "False"
    server = Server(document)
    await put_mark(Rest(server, lambda: 0.0), JobKey("speech", "asr"), mark, "2026-01-01T00:00:00Z")
    assert len(server.written) == (0 if admitted_anew else 1)
    for path, version, status in server.written:
        assert path == f"/apis/kueue.x-k8s.io/v1beta2/namespaces/speech/workloads/{NAME}/status"
        assert version == "9"
        assert {c["type"]: c["status"] for c in status["conditions"]}["QuotaReserved"] == "False"
