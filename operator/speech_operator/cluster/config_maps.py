"""Run configs of attempts as immutable ConfigMaps, beside each the spec it was built from. Used by `KubernetesCluster`.

What was listed or written once is remembered for as long as the job has the same uid: these objects never
change and nobody else makes them. A write that failed forgets the job, so that the next look is a real one.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any, Final

from speech_contract import codec, names, paths
from speech_contract.api import JobSpec, spec_document
from speech_contract.errors import ContractError
from speech_contract.run_config import RunConfig
from speech_operator.cluster.base import ClusterError, JobKey, RunConfigs, Unsatisfiable
from speech_operator.cluster.pod_record import owner_uid
from speech_operator.cluster.rest import ApiError, Rest
from speech_operator.job_document import read_job

RUN: Final = paths.RUN_CONFIG_FILE.rpartition("/")[2]  # mounted
ACCEPTED: Final = "accepted.json"  # the operator's own


@dataclasses.dataclass(frozen=True)
class _Stored:
    uid: str
    run_text: str
    accepted_text: str

    @functools.cached_property
    def run(self) -> RunConfig:
        """Parsed at the first look; these objects never change."""
        return _run_config(self.run_text)

    @functools.cached_property
    def accepted(self) -> JobSpec | None:
        """The spec, parsed as above."""
        return _accepted(self.accepted_text)


@dataclasses.dataclass
class _Known:
    owner: str
    by_attempt: dict[int, _Stored]


class RunConfigMaps:
    """The ConfigMaps of every job."""

    def __init__(self, rest: Rest) -> None:
        self._rest = rest
        self._known: dict[JobKey, _Known] = {}

    def forget(self, key: JobKey) -> None:
        """The job is gone, or what we know of it may be wrong."""
        self._known.pop(key, None)

    async def read(self, key: JobKey, uid: str, attempt: int) -> RunConfigs:
        """What the port's `get_run_configs` returns."""
        known = self._known.get(key)
        if known is None or known.owner != uid:
            known = self._known[key] = _Known(uid, await self._list(key, uid))
        stored = known.by_attempt
        if not stored:
            return RunConfigs()
        config = stored[attempt].run if attempt in stored else None
        return RunConfigs(tuple(sorted(stored)), config, stored[max(stored)].accepted)

    async def create(self, key: JobKey, uid: str, config: RunConfig, accepted: JobSpec) -> None:
        """POST; one of ours stays as it is. Raises Unsatisfiable when the name is somebody else's."""
        manifest = _manifest(key, uid, config, accepted)
        known = self._known.pop(key, None)
        try:
            made = await self._rest.post(_path(key), manifest)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            if config.attempt not in await self._list(key, uid):
                raise somebody_elses("config map", manifest["metadata"]["name"]) from error
            return
        if known is not None and known.owner == uid:
            self._known[key] = known
            known.by_attempt[config.attempt] = _stored(made)

    async def delete(self, key: JobKey, attempt: int) -> None:
        """Delete ours; absence is no error."""
        known = self._known.pop(key, None)
        stored = known.by_attempt.pop(attempt, None) if known else None
        if known is None or stored is None:
            return  # the next look shows it again if it is there
        options = {"preconditions": {"uid": stored.uid}}
        await self._rest.delete(f"{_path(key)}/{names.config_name(key.name, attempt)}", options)
        self._known[key] = known

    async def _list(self, key: JobKey, uid: str) -> dict[int, _Stored]:
        query = urllib.parse.urlencode({"labelSelector": f"{names.LABEL_JOB_NAME}={key.name}"})
        page = await self._rest.get(f"{_path(key)}?{query}")
        found = {}
        for document in page.get("items") or ():
            attempt = _attempt(document, key)
            if attempt is not None and owner_uid(document) == uid:
                found[attempt] = _stored(document)
        return found


def somebody_elses(kind: str, name: str) -> Unsatisfiable:
    """The sentence for a name that is taken; what a deleted namesake left goes by itself in a moment."""
    remedy = (
        "wait for garbage collection if it is of a deleted job, else delete it or rename this job"
    )
    return Unsatisfiable(f"{kind} {name} belongs to somebody else; {remedy}")


def _path(key: JobKey) -> str:
    return f"/api/v1/namespaces/{key.namespace}/configmaps"


def _manifest(key: JobKey, uid: str, config: RunConfig, accepted: JobSpec) -> dict[str, Any]:
    owner = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": key.name,
        "uid": uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    labels = {names.LABEL_JOB_NAME: key.name, names.LABEL_ATTEMPT: str(config.attempt)}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": names.config_name(key.name, config.attempt),
            "namespace": key.namespace,
            "labels": labels,
            "ownerReferences": [owner],
        },
        "immutable": True,
        "data": {
            RUN: codec.dumps(config),
            ACCEPTED: json.dumps(spec_document(accepted), ensure_ascii=False),
        },
    }


def _attempt(document: Mapping[str, Any], key: JobKey) -> int | None:
    metadata = document["metadata"]
    label = (metadata.get("labels") or {}).get(names.LABEL_ATTEMPT, "")
    fits = label.isdecimal() and metadata["name"] == names.config_name(key.name, int(label))
    return int(label) if fits else None


def _stored(document: Mapping[str, Any]) -> _Stored:
    data = document.get("data") or {}
    return _Stored(document["metadata"]["uid"], data.get(RUN, ""), data.get(ACCEPTED, "{}"))


def _run_config(text: str) -> RunConfig:
    try:
        return codec.loads(RunConfig, text, RUN)
    except ContractError as error:
        raise ClusterError(str(error)) from error


def _accepted(text: str) -> JobSpec | None:
    """None when this operator would refuse what an older one accepted; today's spec counts then."""
    document = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": "accepted", "namespace": "", "uid": ""},
        "spec": json.loads(text),
    }
    return read_job(document, local=False).spec
