"""The run config of an attempt, out of accepted spec, attempt and endpoints, and its ConfigMap. Called by `gang`."""

from __future__ import annotations

import json
import re
import weakref
from typing import Any, Final

from speech_contract import codec, names, paths
from speech_contract.api import JobSpec, spec_document
from speech_contract.outcome import Next, meaning_of
from speech_contract.recipes import Copies
from speech_contract.run_config import ResumeFrom, RunConfig, attempt_token
from speech_contract.status import Attempt, JobStatus
from speech_operator.resources.metadata import child_metadata
from speech_operator.runtimes import to_text
from speech_operator.shared import digest
from speech_operator.snapshot import Job, Observed, Platform

RUN: Final = paths.RUN_CONFIG_FILE.rpartition("/")[2]  # mounted
ACCEPTED: Final = "accepted.json"  # the operator's own
RUNTIME: Final = "runtime.json"  # likewise, of a job that names one
_WRITTEN: Final[weakref.WeakValueDictionary[bytes, JobSpec]] = weakref.WeakValueDictionary()
_GPU = re.compile(r"(^|\.)(nvidia|amd)\.com/gpu$")


def build_run_config(seen: Observed, status: JobStatus) -> RunConfig:
    """The one document that all pods of the attempt in `status` get."""
    job, spec, endpoints = seen.job, seen.spec, seen.endpoints
    assert endpoints is not None, "observe always gives endpoints"
    per_node = ranks_per_node(spec, seen.platform)
    return RunConfig(
        namespace=job.namespace,
        name=job.name,
        uid=job.uid,
        attempt=status.attempt,
        token=attempt_token(job.uid, status.attempt),
        num_nodes=spec.num_nodes,
        ranks_per_node=per_node,
        master_address=endpoints.master_address,
        master_port=endpoints.master_port,
        supervisor_addresses=list(endpoints.supervisor_addresses),
        run_dir=spec.checkpoint.uri,
        recipe=spec.recipe,
        training=spec.training,
        checkpoint=spec.checkpoint,
        data=spec.data,
        resume_from=resume_from(status),
        resume_before=resume_before(status),
        health=spec.health,
        strategic_logging=spec.strategic_logging,
        tracking=spec.tracking,
        grace_seconds=spec.run_policy.termination_grace_period_seconds,
        omp_threads=omp_threads(spec, per_node, seen.platform),
        accelerator="" if seen.platform.local else asked_accelerator(spec),
    )


def build_config_map(job: Job, config: RunConfig, accepted: JobSpec) -> dict[str, Any]:
    """The immutable ConfigMap of the attempt: its run config, and beside it the spec that was accepted for it.

    That spec holds what the job's runtime added; the runtime lies beside it, for what may still change in the job.
    """
    name = names.config_name(job.name, config.attempt)
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": child_metadata(job, name, {names.LABEL_ATTEMPT: str(config.attempt)}),
        "immutable": True,
        "data": {
            RUN: codec.dumps(config),
            ACCEPTED: written(accepted),
            **({RUNTIME: to_text(job.runtime)} if job.runtime else {}),
        },
    }


def written(accepted: JobSpec) -> str:
    """The spec as text, with every default."""
    text = json.dumps(spec_document(accepted), ensure_ascii=False)
    _WRITTEN[_key(text)] = accepted
    return text


def spec_of(text: str) -> JobSpec | None:
    """The spec that this text was written from, if this process did and still has it: no need of another one."""
    return _WRITTEN.get(_key(text))


def _key(text: str) -> bytes:
    return digest(text.encode(errors="surrogatepass"))  # JSON knows half characters


def resume_from(status: JobStatus) -> ResumeFrom:
    """Confirmed after a health failure, and until an attempt has stepped since; else Newest."""
    return ResumeFrom.CONFIRMED if _health_failure(status) else ResumeFrom.NEWEST


def resume_before(status: JobStatus) -> int | None:
    """The first bad step of that failure, where only its rule knows it."""
    failed = _health_failure(status)
    return failed.first_bad_step if failed else None


def _health_failure(status: JobStatus) -> Attempt | None:
    """The attempt that a health rule ended, when none has stepped since."""
    for attempt in reversed(status.attempts):
        if attempt.end_time is None:
            continue
        code = attempt.exit_code
        if code is not None and meaning_of(code).next is Next.RESTART_CONFIRMED:
            return attempt
        if attempt.last_step is not None:
            return None
    return None


def ranks_per_node(spec: JobSpec, platform: Platform) -> int:
    """`nprocPerNode`; unset: the GPUs of a node, else 1. One machine ignores resources."""
    if spec.nproc_per_node is not None:
        return spec.nproc_per_node
    return 1 if platform.local else max(1, gpus_per_node(spec))


def gpus_per_node(spec: JobSpec) -> int:
    """GPUs that a node's pod asks for."""
    limits = spec.trainer.resources_per_node.limits
    return sum(int(value) for name, value in limits.items() if _GPU.search(name))


def asked_accelerator(spec: JobSpec) -> str:
    """What the trainer must find, for its message when torch sees none: CPU is never silent."""
    return spec.accelerator or ("nvidia.com/gpu" if gpus_per_node(spec) else "")


def omp_threads(spec: JobSpec, per_node: int, platform: Platform) -> int:
    """Threads of each rank: its share of the cores, the same in every attempt."""
    custom = spec.recipe.custom
    per_node = 1 if custom and custom.copies is Copies.ONE else per_node
    if platform.local:
        return max(1, (platform.cores or 1) // (per_node * spec.num_nodes))
    limits = spec.trainer.resources_per_node.limits
    return max(1, int(cores(limits.get("cpu", "0")) // per_node))


def cores(quantity: str) -> float:
    """`1500m` → 1.5; anything but a plain or milli quantity counts as 0."""
    if quantity.endswith("m") and quantity[:-1].isdigit():
        return int(quantity[:-1]) / 1000
    return float(quantity) if re.fullmatch(r"\d+(\.\d+)?", quantity) else 0.0
