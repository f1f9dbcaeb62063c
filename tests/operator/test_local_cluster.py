"""The pieces of LocalCluster: files, processes, paths, commands, ports."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import sys
import time
from pathlib import Path
from typing import ClassVar

import pytest

from speech_contract import codec, env, names
from speech_contract.api import parse
from speech_contract.outcome import Outcome, encode
from speech_contract.run_config import Device, RunConfig, Training
from speech_operator import local_run
from speech_operator.children import CONFIG_MAP, POD
from speech_operator.cluster import local_pod, local_process
from speech_operator.cluster.base import (
    AlreadyExists,
    ClusterError,
    Conflict,
    JobKey,
    Unsatisfiable,
)
from speech_operator.cluster.local import ANNOTATION_MANIFEST, LocalCluster, free_ports
from speech_operator.cluster.local_paths import ignored_fields, local_path, localised
from speech_operator.cluster.local_pod import Machine
from speech_operator.cluster.local_state import JobFolder, job_folders
from speech_operator.reconcile import reconcile
from speech_operator.resources.config_map import build_config_map
from speech_operator.snapshot import PodPhase

MACHINE = Machine(cores=4, gpus=0, host="here")
STUB = ["/bin/sh", "-c", 'shift; exec "$@"', "stub"]  # a launcher that only launches


@pytest.fixture
def folder(tmp_path, build):
    folder = JobFolder(tmp_path / "state", *build.key)
    document = build.document()
    annotations = {ANNOTATION_MANIFEST: str(tmp_path / "job.yaml")}
    folder.create_job(
        {**document, "metadata": {**document["metadata"], "annotations": annotations}}
    )
    return folder


class TestState:
    def test_each_write_has_its_version(self, folder):
        assert folder.read_job()["metadata"]["resourceVersion"] == "1"
        folder.replace_status({"attempt": 1}, "1")
        with pytest.raises(Conflict):
            folder.replace_status({"attempt": 2}, "1")
        assert folder.read_job()["status"] == {"attempt": 1}

    def test_a_new_spec_is_a_new_generation_and_the_same_is_not(self, folder):
        spec = folder.read_job()["spec"]
        folder.replace_spec(spec, "1")
        assert folder.read_job()["metadata"]["generation"] == 1
        folder.set_suspend(True)
        folder.set_suspend(True)
        job = folder.read_job()
        assert (job["metadata"]["generation"], job["spec"]["runPolicy"]["suspend"]) == (2, True)

    def test_a_job_is_created_once(self, folder):
        with pytest.raises(Conflict):
            folder.create_job(folder.read_job())

    def test_one_controller_at_a_time(self, folder):
        first = folder.try_control()
        assert folder.try_control() is None
        first.close()
        second = folder.try_control()
        assert second is not None
        second.close()

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"metadata": 1}'])
    def test_a_broken_file_is_said_with_its_path(self, folder, text):
        (folder.path / "job.json").write_text(text)
        with pytest.raises(ClusterError, match=r"job\.json"):
            folder.read_job()

    def test_a_broken_state_is_a_sentence_for_the_user(self, folder, tmp_path, build):
        (folder.path / "job.json").write_text("{")
        for call in (local_run.load_job, local_run.list_jobs):
            arguments = build.key if call is local_run.load_job else ()
            with pytest.raises(local_run.LocalRunError, match="move the folder away"):
                call(tmp_path / "state", *arguments)

    def test_jobs_are_listed_and_volumes_are_none(self, folder, tmp_path):
        (tmp_path / "state" / "volumes" / "data").mkdir(parents=True)
        (tmp_path / "state" / "volumes" / "data" / "job.json").write_text("{}")
        assert job_folders(tmp_path / "state") == [("speech", "asr")]
        assert job_folders(tmp_path / "nowhere") == []


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestProcess:
    def start(self, tmp_path, script):
        command = [sys.executable, "-c", script]
        return local_process.start(command, dict(os.environ), tmp_path, tmp_path / "log")

    @pytest.mark.parametrize(
        ("script", "code"),
        [("raise SystemExit(7)", 7), ("import os; os.kill(os.getpid(), 9)", 137), ("pass", 0)],
    )
    def test_its_end_is_told(self, tmp_path, script, code):
        process = self.start(tmp_path, script)
        process.open_gate()
        wait_until(lambda: not local_process.alive(process.pid, process.start_ticks))
        assert local_process.reap(process.pid) == code
        assert local_process.reap(process.pid) is None

    def test_nothing_runs_when_the_starter_dies_at_the_gate(self, tmp_path):
        process = self.start(tmp_path, "open('ran', 'w')")
        os.close(process.gate)
        wait_until(lambda: not local_process.alive(process.pid, process.start_ticks))
        assert local_process.reap(process.pid) != 0
        assert not (tmp_path / "ran").exists()

    def test_it_runs_in_its_folder_session_and_log(self, tmp_path):
        process = self.start(tmp_path, "import os; print(os.getcwd(), os.getsid(0) == os.getpid())")
        process.open_gate()
        wait_until(lambda: not local_process.alive(process.pid, process.start_ticks))
        local_process.reap(process.pid)
        assert (tmp_path / "log").read_text().split() == [str(tmp_path), "True"]

    def test_a_reused_pid_is_somebody_else(self):
        ticks = local_process.start_ticks(os.getpid())
        assert local_process.alive(os.getpid(), ticks)
        assert not local_process.alive(os.getpid(), ticks + 1)
        local_process.kill(os.getpid(), ticks + 1)
        local_process.terminate(os.getpid(), ticks + 1)

    def test_a_pid_that_is_no_process(self):
        assert local_process.start_ticks(2**22 + 1) is None
        assert not local_process.alive(2**22 + 1, 0)


def spec_with(**fields):
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "asr"},
        "spec": {
            "recipe": {"vits": {"pretrained": "base"}},
            "data": {
                "train": {"manifest": "/data/te/train.jsonl"},
                "validation": {"manifest": "val.jsonl"},
            },
            "checkpoint": {"uri": "/data/deep/run"},
            "trainer": {
                "volumeMounts": [
                    {"name": "data", "mountPath": "/data"},
                    {"name": "deep", "mountPath": "/data/deep", "subPath": "sub"},
                ]
            },
            "pod": {
                "volumes": [
                    {"name": "data", "emptyDir": {}},
                    {"name": "deep", "persistentVolumeClaim": {"claimName": "c"}},
                ]
            },
            **fields,
        },
    }
    return parse(document, local=True).spec


class TestPaths:
    VOLUMES: ClassVar = {"data": Path("/v/data"), "deep": Path("/v/deep")}

    @pytest.mark.parametrize(
        ("path", "expected"),
        [
            ("/data/te/a.jsonl", "/v/data/te/a.jsonl"),
            ("/data", "/v/data"),
            ("/data/deep/run", "/v/deep/sub/run"),
            ("/database/x", "/database/x"),
            ("/else/x", "/else/x"),
            ("runs/a", "/jobs/runs/a"),
        ],
    )
    def test_the_deepest_mount_wins_and_relative_starts_at_the_manifest(self, path, expected):
        assert local_path(path, spec_with(), Path("/jobs"), self.VOLUMES) == expected

    def test_every_path_of_the_run_config_is_rewritten(self, build):
        spec = spec_with()
        seen = build.seen(spec=spec, status=build.status(whole=False))
        config = build.config_of(reconcile(seen, build.now))
        got = localised(config, spec, Path("/jobs"), self.VOLUMES)
        assert got.run_dir == got.checkpoint.uri == "/v/deep/sub/run"
        assert got.data.train.manifest == "/v/data/te/train.jsonl"
        assert got.data.validation.manifest == "/jobs/val.jsonl"
        assert got.recipe.vits.pretrained == "/jobs/base"

    def test_ignored_fields_are_named(self):
        assert ignored_fields(spec_with()) == []
        spec = spec_with(
            accelerator="NVIDIA-H200", trainer={"image": "x"}, pod={"nodeSelector": {"a": "b"}}
        )
        assert ignored_fields(spec) == ["accelerator", "trainer.image", "pod.nodeSelector"]


class TestPod:
    def test_commands(self):
        launcher = ["launch"]
        injected = ["python3", "/speechtrain/launch.pyz", "--", "python", "t.py", "--", "x"]
        assert local_pod.command(injected, launcher) == [
            "launch",
            "--",
            sys.executable,
            "t.py",
            "--",
            "x",
        ]
        assert local_pod.command(["bash", "t.sh"], launcher) == ["bash", "t.sh"]
        with pytest.raises(Unsatisfiable, match=r"trainer\.command"):
            local_pod.command(["speechtrain-launch", "--"], launcher)

    def test_gpus_are_counted_without_torch(self, tmp_path):
        for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
            (tmp_path / name).touch()
        assert local_pod.visible_gpus({}, tmp_path) == 2
        assert local_pod.visible_gpus({"CUDA_VISIBLE_DEVICES": "1"}, tmp_path) == 1
        assert local_pod.visible_gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == 0

    def environment(self, build, folder, rank=1, gpus=0, device=Device.AUTO, inherited=None):
        seen = build.seen(status=build.status(whole=False))
        plan = reconcile(seen, build.now)
        config = dataclasses.replace(
            build.config_of(plan), training=Training(device=device), ranks_per_node=2
        )
        container = plan.creates[1 + rank].manifest["spec"]["containers"][0]
        machine = Machine(4, gpus, "here")
        return local_pod.environment(folder, container, config, machine, inherited or {})

    def test_environment(self, build, folder):
        inherited = {
            "PATH": "/bin",
            "HOME": "/home/me",
            "PET_NNODES": "9",
            "TORCHELASTIC_RUN_ID": "x",
        }
        got = self.environment(build, folder, inherited=inherited)
        assert (got["PATH"], got["HOME"], got[env.PET_NNODES]) == ("/bin", "/home/me", "2")
        assert "TORCHELASTIC_RUN_ID" not in got
        assert Path(got[env.RUN_CONFIG]) == folder.run_config(1)
        assert got[env.NODE_NAME] == "here"

    def test_pods_share_out_the_gpus(self, build, folder):
        def devices(**options):
            return self.environment(build, folder, **options).get("CUDA_VISIBLE_DEVICES")

        assert devices(rank=0, gpus=4) == "0,1"
        assert devices(rank=1, gpus=4) == "2,3"
        assert devices(rank=1, gpus=4, inherited={"CUDA_VISIBLE_DEVICES": "7,5,3,1"}) == "3,1"
        assert devices(gpus=0) is None
        assert devices(gpus=4, device=Device.CPU) is None


class TestCluster:
    """The port's promises, with a stub for the supervisor."""

    @pytest.fixture
    def now(self, build):
        return [build.now]

    @pytest.fixture
    def cluster(self, tmp_path, build, now):
        return LocalCluster(
            tmp_path / "state",
            lambda: now[0],
            only=build.key,
            machine=MACHINE,
            launcher=STUB,
            poll_seconds=0.01,
        )

    def prepare(self, build, cluster, script, nodes=1):
        """The first pass's children, with another command."""
        seen = build.seen(spec=build.spec(nodes=nodes), status=build.status(whole=False))
        config, *pods = reconcile(seen, build.now).creates
        asyncio.run(cluster.create(build.key, CONFIG_MAP, config.manifest))
        manifests = [pod.manifest for pod in pods]
        for manifest in manifests:
            manifest["spec"]["containers"][0]["command"] = ["x", "--", "python3", "-c", script]
        return manifests

    def pods(self, cluster, build):
        return asyncio.run(cluster.list_children(build.key, POD, build.uid))

    def configs(self, cluster, build):
        return asyncio.run(cluster.list_children(build.key, CONFIG_MAP, build.uid))

    def ended(self, cluster, build):
        wait_until(lambda: all(pod.ended for pod in self.pods(cluster, build)))
        return self.pods(cluster, build)

    def test_the_exit_code_comes_from_the_outcome(self, build, cluster, folder):
        (manifest,) = self.prepare(build, cluster, "raise SystemExit(1)")
        asyncio.run(cluster.create(build.key, POD, manifest))
        told = Outcome(1, 0, "Training", 40, message="loss is nan")
        folder.termination_log("asr-master-0").write_text(encode(told))
        (pod,) = self.ended(cluster, build)
        assert (pod.phase, pod.exit_code, pod.outcome) == (PodPhase.FAILED, 40, told)

    def test_without_an_end_in_the_outcome_a_strangers_process_was_killed(
        self, build, cluster, folder
    ):
        (manifest,) = self.prepare(build, cluster, "pass")
        asyncio.run(cluster.create(build.key, POD, manifest))
        pod = folder.pod("asr-master-0")
        wait_until(lambda: not local_process.alive(pod.pid, pod.start_ticks))
        os.waitpid(pod.pid, 0)  # as if another command had started it
        (pod,) = self.ended(cluster, build)
        assert pod.exit_code == 137

    def test_an_outcome_of_an_older_attempt_is_not_read(self, build, cluster, folder):
        (manifest,) = self.prepare(build, cluster, "print('boom'); raise SystemExit(3)")
        asyncio.run(cluster.create(build.key, POD, manifest))
        folder.termination_log("asr-master-0").write_text(encode(Outcome(7, 0, "Training", 0)))
        (pod,) = self.ended(cluster, build)
        assert (pod.exit_code, pod.outcome) == (3, None)
        assert "boom" in pod.message

    def test_a_name_is_taken_once(self, build, cluster):
        (manifest,) = self.prepare(build, cluster, "pass")
        asyncio.run(cluster.create(build.key, POD, manifest))
        with pytest.raises(AlreadyExists) as caught:
            asyncio.run(cluster.create(build.key, POD, manifest))
        assert caught.value.ours
        manifest["metadata"]["labels"][names.LABEL_ATTEMPT] = "2"
        with pytest.raises(AlreadyExists) as caught:
            asyncio.run(cluster.create(build.key, POD, manifest))
        assert not caught.value.ours
        self.ended(cluster, build)

    def test_delete_wants_the_uid_and_kills_after_the_grace(self, build, cluster, folder, now):
        script = "import signal, time; signal.signal(15, signal.SIG_IGN); open('up', 'w'); time.sleep(600)"
        (manifest,) = self.prepare(build, cluster, script)
        asyncio.run(cluster.create(build.key, POD, manifest))
        wait_until((folder.root.parent / "up").exists)
        pod = folder.pod("asr-master-0")
        with pytest.raises(Conflict):
            asyncio.run(cluster.delete(build.key, POD, pod.name, "other", 5))
        asyncio.run(cluster.delete(build.key, POD, pod.name, pod.uid, 5))
        (record,) = self.pods(cluster, build)
        assert (record.deleting, record.phase) == (True, PodPhase.RUNNING)
        now[0] += 5
        asyncio.run(self.watch_until(cluster, lambda: folder.pod(pod.name) is None))
        assert not local_process.alive(pod.pid, pod.start_ticks)
        asyncio.run(cluster.delete(build.key, POD, pod.name, pod.uid, 5))

    async def watch_until(self, cluster, condition):
        async with asyncio.timeout(30):
            watching = asyncio.create_task(self.watch(cluster))
            while not condition():  # noqa: ASYNC110 - what happens is in another process
                await asyncio.sleep(0.01)
            watching.cancel()

    async def watch(self, cluster):
        await cluster.watch(lambda key: None)

    def test_watch_tells_the_first_look_and_each_change(self, build, cluster, folder):
        async def watched():
            keys: asyncio.Queue[JobKey] = asyncio.Queue()
            watching = asyncio.create_task(cluster.watch(keys.put_nowait))
            first = await keys.get()
            folder.replace_status({"attempt": 1}, "1")
            second = await keys.get()
            watching.cancel()
            return first, second

        assert asyncio.run(asyncio.wait_for(watched(), 30)) == (build.key, build.key)

    def test_a_run_config_is_written_once_and_localised(self, build, cluster, folder, tmp_path):
        self.prepare(build, cluster, "pass")
        (got,) = self.configs(cluster, build)
        first = got.run
        assert first.run_dir == str(tmp_path / "runs" / "asr")
        assert got.accepted == build.spec(nodes=1)
        changed = dataclasses.replace(first, run_dir="/else")
        manifest = build_config_map(build.seen().job, changed, got.accepted)
        with pytest.raises(AlreadyExists) as caught:
            asyncio.run(cluster.create(build.key, CONFIG_MAP, manifest))
        assert caught.value.ours
        again = codec.loads(RunConfig, folder.run_config(1).read_text())
        assert again == first
        endpoints = asyncio.run(cluster.endpoints(build.key, 1, again))
        assert endpoints.master_port == again.master_port
        asyncio.run(cluster.delete(build.key, CONFIG_MAP, got.name, got.uid))
        assert self.configs(cluster, build) == []

    def test_a_deleted_job_takes_its_processes_along(self, build, cluster, folder):
        (manifest,) = self.prepare(build, cluster, "import time; time.sleep(600)")
        asyncio.run(cluster.create(build.key, POD, manifest))
        pod = folder.pod("asr-master-0")
        asyncio.run(cluster.delete_job(build.key, build.uid))
        wait_until(lambda: not local_process.alive(pod.pid, pod.start_ticks))
        assert asyncio.run(cluster.get_job(build.key)) is None
        local_process.reap(pod.pid)

    def test_others_jobs_are_not_watched(self, tmp_path, folder):
        cluster = LocalCluster(
            tmp_path / "state", lambda: 0.0, only=JobKey("speech", "else"), poll_seconds=0.01
        )

        async def first():
            await asyncio.wait_for(cluster.watch(told.append), 0.2)

        told: list[JobKey] = []
        with pytest.raises(TimeoutError):
            asyncio.run(first())
        assert told == []


def test_ports_are_free_and_different():
    ports = free_ports(20)
    assert len(set(ports)) == 20


class TestRefusals:
    @pytest.mark.parametrize(
        ("machine", "ranks", "nodes", "device", "refused"),
        [
            (Machine(2, 0, "h"), 2, 2, "Auto", False),
            (Machine(2, 0, "h"), 3, 1, "Auto", True),
            (Machine(2, 0, "h"), None, 1, "Auto", False),
            (Machine(64, 2, "h"), 2, 1, "Auto", False),
            (Machine(64, 2, "h"), 2, 2, "Auto", True),
            (Machine(64, 2, "h"), 4, 2, "CPU", False),
        ],
    )
    def test_more_ranks_than_devices(self, build, machine, ranks, nodes, device, refused):
        document = build.document(nodes)
        document["spec"].update(nprocPerNode=ranks, training={"device": device})
        spec = parse(document, local=True).spec
        if not refused:
            local_run.check_machine(spec, machine)
            return
        with pytest.raises(local_run.LocalRunError, match=r"spec\.nprocPerNode: \d+ .*; "):
            local_run.check_machine(spec, machine)

    def test_a_volume_that_the_manifest_does_not_know(self):
        with pytest.raises(local_run.LocalRunError, match=r"--volume dat: .*data, deep"):
            local_run.check_volumes(spec_with(), {"dat": Path("/x")}, "default")

    @pytest.mark.parametrize("namespace", ["volumes", "a/b", "..", ".x"])
    def test_a_namespace_that_is_no_folder(self, namespace):
        with pytest.raises(local_run.LocalRunError, match="--namespace"):
            local_run.check_volumes(spec_with(), {}, namespace)

    def test_suspend_of_what_is_not_there_or_over(self, folder, tmp_path):
        state = tmp_path / "state"
        with pytest.raises(local_run.LocalRunError, match="nobody"):
            asyncio.run(local_run.suspend(state, "speech", "nobody"))
        folder.replace_status({"state": "Complete"}, "1")
        with pytest.raises(local_run.LocalRunError, match="ended as Complete"):
            asyncio.run(local_run.suspend(state, "speech", "asr"))

    @pytest.mark.parametrize(
        ("status", "code"),
        [
            ({"state": "Complete"}, 0),
            ({"state": "Suspended"}, 75),
            ({"state": "Failed", "failure": {"exitCode": 41}}, 41),
            ({"state": "Failed", "failure": {"exitCode": 0}}, 1),
            ({"state": "Failed", "failure": {}}, 1),
        ],
    )
    def test_exit_codes_of_the_command(self, status, code):
        assert local_run.exit_code({"status": status}) == code
