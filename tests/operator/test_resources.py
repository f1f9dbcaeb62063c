"""Children of a job as documents: PyTorchJob's names, our guarantees."""

from __future__ import annotations

import dataclasses
import gc
import json
from pathlib import Path
from typing import Any

import pytest

from speech_contract import codec, env, names
from speech_contract.api import parse, parse_spec
from speech_contract.run_config import RunConfig
from speech_operator.resources.config_map import (
    ACCEPTED,
    asked_accelerator,
    build_config_map,
    build_run_config,
    cores,
    omp_threads,
    ranks_per_node,
    spec_of,
)
from speech_operator.resources.environment import build_environment, merged
from speech_operator.resources.pods import build_pod, launch_command
from speech_operator.resources.service import build_service
from speech_operator.snapshot import Endpoints, Platform

CLUSTER = Platform(local=False, default_image="trainer:1", launcher_image="operator:1")
LAPTOP = Platform(local=True, cores=8)


def job_spec(build: Any, **fields: Any) -> Any:
    document = build.document(nodes=fields.pop("numNodes", 3))
    document["spec"].update({"nprocPerNode": 8, **fields})
    document["spec"]["checkpoint"] = {"uri": "/ckpt/asr", "ephemeral": True}
    return parse(document).spec


def vits_spec(build: Any, **fields: Any) -> Any:
    data = {"train": {"manifest": "/data/train.jsonl"}}
    return job_spec(build, recipe={"vits": {}}, data=data, trainer={}, **fields)


def snapshot(build: Any, spec: Any, platform: Platform = CLUSTER) -> Any:
    hosts = tuple(f"asr-{n}:9464" for n in range(spec.num_nodes))
    endpoints = Endpoints("asr-master-0", 23456, hosts)
    status = build.status(attempt=2, whole=False)
    return build.seen(spec=spec, status=status, endpoints=endpoints, platform=platform)


def pod_of(build: Any, spec: Any, rank: int = 1) -> tuple[RunConfig, dict[str, Any]]:
    seen = snapshot(build, spec)
    config = build_run_config(seen, seen.job.status)
    return config, build_pod(seen, config, rank)


def values(container: dict[str, Any]) -> dict[str, str]:
    return {v["name"]: v["value"] for v in container["env"] if "value" in v}


class TestEnvironment:
    def test_the_worked_case_of_pytorchjob(self, build):
        """Master 1, Worker 2, nprocPerNode 8: the figures of the old operator's own table."""
        for rank in range(3):
            _, pod = pod_of(build, job_spec(build), rank)
            got = values(pod["spec"]["containers"][0])
            assert got[env.WORLD_SIZE] == "24"
            assert got[env.PET_NNODES] == "3"
            assert got[env.PET_NPROC_PER_NODE] == "8"
            assert got[env.RANK] == got[env.PET_NODE_RANK] == str(rank)
            assert got[env.MASTER_ADDR] == got[env.PET_MASTER_ADDR] == "asr-master-0"
            assert got[env.MASTER_PORT] == got[env.PET_MASTER_PORT] == "23456"

    def test_world_size_counts_ranks_also_when_nproc_is_left_out(self, build):
        limits = {"limits": {"nvidia.com/gpu": 4}}
        trainer = {"command": ["x"], "resourcesPerNode": limits}
        spec = job_spec(build, nprocPerNode=None, trainer=trainer, numNodes=2)
        _, pod = pod_of(build, spec)
        assert values(pod["spec"]["containers"][0])[env.WORLD_SIZE] == "8"

    def test_ours_win_and_every_name_is_there_once(self, build):
        spec = job_spec(
            build, trainer={"command": ["x"], "env": [{"name": "HOME", "value": "/mine"}]}
        )
        config, pod = pod_of(build, spec)
        listed = [v["name"] for v in pod["spec"]["containers"][0]["env"]]
        assert len(listed) == len(set(listed))
        assert (
            merged([{"name": env.RANK, "value": "9"}], build_environment(config, 1))[0]["name"]
            != env.RANK
        )

    def test_references_are_passed_on(self, build):
        reference = {"secretKeyRef": {"name": "hub", "key": "token"}}
        spec = job_spec(
            build, trainer={"command": ["x"], "env": [{"name": "T", "valueFrom": reference}]}
        )
        _, pod = pod_of(build, spec)
        assert {"name": "T", "valueFrom": reference} in pod["spec"]["containers"][0]["env"]


class TestPod:
    def test_names_labels_and_owner(self, build):
        for rank, (name, kind, index) in enumerate(
            [
                ("asr-master-0", "master", "0"),
                ("asr-worker-0", "worker", "0"),
                ("asr-worker-1", "worker", "1"),
            ]
        ):
            _, pod = pod_of(build, job_spec(build), rank)
            labels = pod["metadata"]["labels"]
            assert pod["metadata"]["name"] == name
            assert labels[names.LABEL_REPLICA_TYPE] == kind
            assert labels[names.LABEL_REPLICA_INDEX] == index
            assert labels[names.LABEL_ATTEMPT] == "2"
            assert labels.get(names.LABEL_JOB_ROLE) == ("master" if rank == 0 else None)
            (owner,) = pod["metadata"]["ownerReferences"]
            assert (owner["uid"], owner["controller"]) == (build.uid, True)

    def test_pods_carry_the_team_of_their_job(self, build):
        """So that series of supervisor and operator name the same one."""
        seen = snapshot(build, job_spec(build))
        config = build_run_config(seen, seen.job.status)
        for team, label in (("asr-core", "asr-core"), ("", None)):
            owned = dataclasses.replace(seen, job=dataclasses.replace(seen.job, team=team))
            assert build_pod(owned, config, 0)["metadata"]["labels"].get(names.LABEL_TEAM) == label

    def test_what_every_pod_gets(self, build):
        config, pod = pod_of(build, vits_spec(build))
        spec, container = pod["spec"], pod["spec"]["containers"][0]
        assert spec["restartPolicy"] == "Never"
        assert spec["automountServiceAccountToken"] is False
        assert spec["terminationGracePeriodSeconds"] == config.grace_seconds
        assert {"name": "dshm", "emptyDir": {"medium": "Memory"}} in spec["volumes"]
        assert container["name"] == "pytorch"
        assert container["image"] == "trainer:1"
        assert container["resources"]["requests"]["cpu"] == "2000m"
        assert {p["name"]: p["containerPort"] for p in container["ports"]} == {
            "pytorchjob-port": 23456,
            "metrics": 9464,
        }
        assert "livenessProbe" not in container
        seconds = {t["key"]: t.get("tolerationSeconds") for t in spec["tolerations"]}
        assert seconds["node.kubernetes.io/unreachable"] == 300

    def test_restricted_pod_security_passes(self, build):
        spec = job_spec(build, recipe={"custom": {"launcher": "Injected"}})
        _, pod = pod_of(build, spec)
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["spec"]["containers"] + pod["spec"]["initContainers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"]["drop"] == ["ALL"]

    @pytest.mark.parametrize(
        ("asked", "runs_as", "group"),
        [
            (None, {}, names.IMAGE_GROUP),
            (None, {"runAsGroup": 3000}, 3000),
            (2000, {"runAsGroup": 3000}, 2000),
            (0, {"runAsGroup": 3000}, None),
        ],
    )
    def test_volumes_are_given_to_a_group_of_the_pod(self, build, asked, runs_as, group):
        pod_fields = {} if asked is None else {"securityContext": {"fsGroup": asked}}
        trainer = {"command": ["x"], "securityContext": runs_as}
        _, pod = pod_of(build, job_spec(build, pod=pod_fields, trainer=trainer))
        assert pod["spec"]["securityContext"].get("fsGroup") == group
        assert pod["spec"]["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"

    def test_that_group_is_the_one_of_our_images(self):
        root = Path(__file__).resolve().parents[2]
        for image in ("operator", "trainer_image"):
            text = (root / image / "Dockerfile").read_text(encoding="utf-8")
            assert f"USER {names.IMAGE_GROUP}:{names.IMAGE_GROUP}\n" in text

    def test_volumes_are_passed_on_as_they_were_written(self, build):
        claim = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
        attributes = {"bucketName": "voices"}
        sources = [
            {"configMap": {"name": "a"}},
            {"downwardAPI": {"items": [{"path": "p", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        ]
        volumes = [
            {"name": "a", "ephemeral": {"volumeClaimTemplate": {"spec": claim}}},
            {"name": "b", "csi": {"driver": "d.example.com", "volumeAttributes": attributes}},
            {"name": "c", "projected": {"sources": sources}},
        ]
        groups = {"securityContext": {"supplementalGroups": [2000]}}
        _, pod = pod_of(build, job_spec(build, pod={"volumes": volumes, **groups}))
        assert pod["spec"]["volumes"][:3] == volumes
        assert pod["spec"]["securityContext"]["supplementalGroups"] == [2000]

    def test_rdma_is_an_explicit_opt_in(self, build):
        context = {"capabilities": {"add": ["IPC_LOCK"]}}
        _, pod = pod_of(
            build, job_spec(build, trainer={"command": ["x"], "securityContext": context})
        )
        security = pod["spec"]["containers"][0]["securityContext"]
        assert security["capabilities"] == {"drop": ["ALL"], "add": ["IPC_LOCK"]}

    def test_an_accelerator_selects_and_tolerates(self, build):
        _, pod = pod_of(build, job_spec(build, accelerator="NVIDIA-H200"))
        assert pod["spec"]["nodeSelector"] == {"nvidia.com/gpu.product": "NVIDIA-H200"}
        assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod[
            "spec"
        ]["tolerations"]

    def test_ours_come_beside_the_users_labels_and_scheduling(self, build):
        pod_fields = {
            "labels": {"team": "speech"},
            "priorityClassName": "high",
            "nodeSelector": {"zone": "a"},
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}],
        }
        _, pod = pod_of(build, job_spec(build, pod=pod_fields))
        assert pod["metadata"]["labels"]["team"] == "speech"
        assert pod["spec"]["priorityClassName"] == "high"
        assert pod["spec"]["nodeSelector"] == {"zone": "a"}
        assert pod["spec"]["volumes"][0] == pod_fields["volumes"][0]

    def test_the_run_config_is_mounted_by_attempt(self, build):
        _, pod = pod_of(build, job_spec(build))
        (volume,) = [v for v in pod["spec"]["volumes"] if "configMap" in v]
        assert volume["configMap"]["name"] == "asr-attempt-2"
        (mount,) = [
            m for m in pod["spec"]["containers"][0]["volumeMounts"] if m["name"] == volume["name"]
        ]
        assert mount["mountPath"] == "/etc/speechtrain"

    @pytest.mark.parametrize(
        ("launcher", "command"),
        [
            ("Injected", ["python3", "/speechtrain/launch.pyz", "--", "python3", "train.py", "-v"]),
            ("Image", ["speechtrain-launch", "--", "python3", "train.py", "-v"]),
            ("None", ["python3", "train.py", "-v"]),
        ],
    )
    def test_how_the_launcher_comes_in(self, build, launcher, command):
        trainer = {"command": ["python3", "train.py"], "args": ["-v"]}
        spec = job_spec(build, recipe={"custom": {"launcher": launcher}}, trainer=trainer)
        _, pod = pod_of(build, spec)
        assert launch_command(spec) == command
        assert pod["spec"]["containers"][0]["command"] == command
        assert ("initContainers" in pod["spec"]) is (launcher == "Injected")
        assert ("readinessProbe" in pod["spec"]["containers"][0]) is (launcher != "None")

    def test_a_recipe_brings_its_own_command(self, build):
        assert launch_command(vits_spec(build)) == [
            "speechtrain-launch",
            "--",
            "python",
            "-m",
            "speech_trainer",
        ]


class TestRunConfig:
    def test_it_says_what_the_spec_says_and_travels(self, build):
        seen = snapshot(build, vits_spec(build))
        config = build_run_config(seen, seen.job.status)
        assert (config.attempt, config.num_nodes, config.ranks_per_node) == (2, 3, 8)
        assert config.world_size == 24
        assert config.run_dir == "/ckpt/asr"
        assert config.data.train.manifest == "/data/train.jsonl"
        assert codec.loads(RunConfig, codec.dumps(config)) == config

    def test_the_token_differs_by_attempt_and_job(self, build):
        seen = snapshot(build, vits_spec(build))
        status = seen.job.status
        other = dataclasses.replace(status, attempt=3)
        tokens = {build_run_config(seen, s).token for s in (status, other)}
        assert {len(token) for token in tokens} == {32}
        assert len(tokens) == 2

    @pytest.mark.parametrize(
        ("nodes", "ranks", "machine", "threads"),
        [(1, 1, 8, 8), (2, 2, 8, 2), (1, 8, 8, 1), (3, 4, 8, 1)],
    )
    def test_threads_are_the_share_of_the_cores(self, build, nodes, ranks, machine, threads):
        spec = job_spec(build, numNodes=nodes, nprocPerNode=ranks)
        assert omp_threads(spec, ranks, Platform(local=True, cores=machine)) == threads

    def test_ranks_of_a_node(self, build):
        trainer = {"command": ["x"], "resourcesPerNode": {"limits": {"nvidia.com/gpu": 4}}}
        spec = job_spec(build, nprocPerNode=None, trainer=trainer)
        assert ranks_per_node(spec, CLUSTER) == 4
        assert ranks_per_node(spec, LAPTOP) == 1
        assert ranks_per_node(job_spec(build, nprocPerNode=None), CLUSTER) == 1
        assert ranks_per_node(job_spec(build, nprocPerNode=3), LAPTOP) == 3

    @pytest.mark.parametrize(
        ("text", "value"), [("1500m", 1.5), ("8", 8.0), ("0.5", 0.5), ("1Ki", 0.0)]
    )
    def test_cores(self, text, value):
        assert cores(text) == value


def test_service_is_headless_and_finds_the_master_before_it_is_ready(build):
    spec = vits_spec(build)
    service = build_service(build.job(spec, build.status()))
    assert service["metadata"]["name"] == "asr-master-0"
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"] is True
    selected = [
        service["spec"]["selector"].items()
        <= pod_of(build, spec, rank)[1]["metadata"]["labels"].items()
        for rank in range(3)
    ]
    assert selected == [True, False, False]


@pytest.mark.parametrize(
    ("launcher", "every"), [("None", True), ("Image", False), ("Injected", False)]
)
def test_every_pod_has_a_name_where_no_launcher_of_ours_starts_the_ranks(build, launcher, every):
    spec = job_spec(build, recipe={"custom": {"launcher": launcher}})
    service = build_service(build.job(spec, build.status()))
    labels = pod_of(build, spec, 2)[1]["metadata"]["labels"]
    assert (service["spec"]["selector"].items() <= labels.items()) is every


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        pytest.param({}, "", id="a CPU job asks for nothing"),
        pytest.param({"accelerator": "NVIDIA-H200"}, "NVIDIA-H200", id="by product"),
        pytest.param(
            {"trainer": {"resourcesPerNode": {"limits": {"nvidia.com/gpu": 2}}}},
            "nvidia.com/gpu",
            id="a bare limit asks for a GPU too",
        ),
    ],
)
def test_cpu_is_never_silent_where_a_gpu_was_asked_for(build, fields, asked):
    trainer = {"command": ["python"], **fields.pop("trainer", {})}
    assert asked_accelerator(job_spec(build, trainer=trainer, **fields)) == asked


def test_a_spec_that_we_wrote_and_still_hold_is_not_parsed_again(build: Any) -> None:
    seen = snapshot(build, job_spec(build))
    config = build_run_config(seen, seen.job.status)
    text = build_config_map(seen.job, config, seen.spec)["data"][ACCEPTED]
    assert spec_of(text) is seen.spec
    assert parse_spec(json.loads(text)) == seen.spec
    del seen, config
    gc.collect()
    assert spec_of(text) is None
