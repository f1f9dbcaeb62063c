"""Gangs and single jobs beside Training Operator v1, from which PyTorchJob comes. Used by accept_operator.py.

On one control plane, in turns: this build, Training Operator as it starts by default, and with limits raised out of its
way. It has the administrator's rights and no webhook, both to its advantage; its pods are ours, as its kind wants them.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import operator_load
from apibed.scene import Body
from bed import training_operator
from bed.cluster import Bed, log_to_stderr
from bed.layout import cache_dir
from operator_field import Kind, Took
from operator_load import GANGS, IN_FLIGHT, SINGLE, UNPACED, Bench, Shape
from process_costs import cpu_seconds, memory

KIND = Kind(training_operator.API, training_operator.PLURAL, training_operator.LABEL_JOB_NAME)
RAISED = ("--kube-api-qps=10000", "--kube-api-burst=10000", "--controller-threads=16")
# By default it is slow: rates, not times, are compared.
FEW_GANGS, FEW_SINGLE = Shape(4, 64), Shape(100, 1)
WAYS: Mapping[str, tuple[Sequence[str], Shape, Shape]] = {
    "default": ((), FEW_GANGS, FEW_SINGLE),
    "raised": (RAISED, GANGS, SINGLE),
}


async def rival(bed: Bed, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Rates of each way, of every round, and memory."""
    took: dict[str, dict[str, list[dict[str, Any]]]] = collections.defaultdict(
        lambda: collections.defaultdict(list)
    )
    weight: dict[str, float] = {}
    binary = training_operator.install(bed, cache_dir(), log_to_stderr)
    async with operator_load.bench(bed, folder) as at:
        pod = await at.sample()
        for _ in range(options.rounds):
            for what, shape in (("gangs", GANGS), ("single", SINGLE)):
                took["this"][what].append(_told(shape, await at.jobs(shape, **UNPACED)))
            for way, (flags, *shapes) in WAYS.items():
                with training_operator.running(bed, binary, flags) as pid:
                    for what, shape in zip(("gangs", "single"), shapes, strict=True):
                        took[way][what].append(_told(shape, await _jobs(at, pid, pod, shape)))
                    weight[way] = memory(pid)["VmHWM"]
    return {"took": {way: dict(kinds) for way, kinds in took.items()}, "peakMiB": weight}


def _told(shape: Shape, took: Took) -> dict[str, Any]:
    return dataclasses.asdict(took) | {
        "podsPerSecond": round(shape.total / took.created, 1),
        "jobsPerSecond": round(shape.jobs / took.created, 1),
    }


async def _jobs(at: Bench, pid: int, pod: Body, shape: Shape) -> Took:
    """From the first POST of a PyTorchJob until all pods are there."""
    bodies = [_job(f"job-{number}", shape.pods, pod) for number in range(shape.jobs)]
    async with at.field(KIND) as field:
        before = cpu_seconds(pid)
        by = field.admin.transport
        took = await field.post(field.jobs, bodies, shape.total, by, IN_FLIGHT)
        took = dataclasses.replace(took, cpu=cpu_seconds(pid) - before)
        await field.clear()
    log_to_stderr(f"Training Operator, {shape}: {took}")
    return took


def _job(name: str, pods: int, pod: Body) -> Body:
    """A master and its workers, of the pods that our operator makes."""
    left = ("nodeName", "hostname", "subdomain")
    spec = {key: value for key, value in pod["spec"].items() if key not in left}
    first, *others = spec["containers"]
    spec["containers"] = [first | {"name": training_operator.CONTAINER}, *others]
    replica = {"restartPolicy": "Never", "template": {"spec": spec}}
    workers = {"Worker": replica | {"replicas": pods - 1}} if pods > 1 else {}
    return {
        "apiVersion": training_operator.API,
        "kind": training_operator.KIND,
        "metadata": {"name": name},
        "spec": {"pytorchReplicaSpecs": {"Master": replica | {"replicas": 1}, **workers}},
    }
