"""A ConfigMap as the API server shows it → the run config of an attempt, the spec that it was built from, the runtime.

Called by `children`. The texts are parsed at the first look: these objects never change.
"""

from __future__ import annotations

import dataclasses
import functools
import json

from speech_contract import codec, names
from speech_contract.api import InvalidJob, JobSpec, parse_spec
from speech_contract.errors import ContractError
from speech_contract.run_config import RunConfig
from speech_operator.child_kind import Document
from speech_operator.cluster.base import ClusterError
from speech_operator.cluster.pod_record import child_record
from speech_operator.resources.config_map import ACCEPTED, RUN, RUNTIME, spec_of
from speech_operator.runtimes import from_text
from speech_operator.shared import shared
from speech_operator.snapshot import RuntimeRecord


@dataclasses.dataclass(frozen=True)
class StoredConfig:
    """A `ConfigRecord` out of a ConfigMap."""

    name: str
    uid: str
    owner_uid: str
    attempt: int
    run_text: str
    accepted_text: str
    runtime_text: str = ""

    @functools.cached_property
    def run(self) -> RunConfig:
        """The run config. Raises ClusterError when it is none."""
        return _run_config(self.run_text)

    @functools.cached_property
    def accepted(self) -> JobSpec | None:
        """The spec."""
        return _accepted(self.accepted_text)

    @functools.cached_property
    def runtime(self) -> RuntimeRecord | None:
        """The runtime."""
        return from_text(self.runtime_text)


def stored(document: Document, job: str) -> StoredConfig | None:
    """None for a ConfigMap with the job's label that is no attempt's."""
    made = child_record(document, job)
    if made.name != names.config_name(job, made.attempt):
        return None
    data = document.get("data") or {}
    texts = data.get(RUN, ""), data.get(ACCEPTED, "{}"), data.get(RUNTIME, "")
    return StoredConfig(made.name, made.uid, made.owner_uid, made.attempt, *texts)


def _run_config(text: str) -> RunConfig:
    try:
        return shared(codec.loads(RunConfig, text, RUN))
    except ContractError as error:
        raise ClusterError(str(error)) from error


def _accepted(text: str) -> JobSpec | None:
    """None when this operator would refuse what an older one accepted; today's spec counts then."""
    try:
        return spec_of(text) or shared(parse_spec(json.loads(text)))
    except InvalidJob:
        return None
