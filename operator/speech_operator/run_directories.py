"""Which job owns which run directory of a cluster: an index of all jobs, asked by the controller before it decides.

The same path on the same claim of the same namespace is the same directory. Other claims are other volumes; an
emptyDir belongs to its pod; a directory below another one is its own, for a job writes into folders of fixed names
alone. Whoever began an attempt owns, suspended or not, until it ended and its pods are gone; of those that have not
begun, the oldest goes first (creationTimestamp, then uid). No input or output: what the passes saw is noted here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import PurePosixPath

from speech_contract import names
from speech_contract.api import JobSpec, JobStatus
from speech_contract.api.rules import mount_of
from speech_contract.owner import Owner
from speech_operator import status as st
from speech_operator.cluster.base import JobKey
from speech_operator.snapshot import Job, Observed

Directory = tuple[str, str, str]  # namespace, claim, path below the claim's root


@dataclasses.dataclass(frozen=True)
class _Claim:
    """One job as far as its directory is concerned."""

    key: JobKey
    uid: str
    created: str
    directory: Directory | None
    owns: bool = False
    wants: bool = False

    @property
    def age(self) -> tuple[str, str]:
        """Sorts the oldest first."""
        return self.created, self.uid


class RunDirectories:
    """The index. Between `look` and `decided` of one pass nothing else may run."""

    def __init__(self) -> None:
        self._claims: dict[JobKey, _Claim] = {}
        self._earlier: _Claim | None = None  # of the job that is looked at: from the pass before

    def fill(self, jobs: Iterable[Job]) -> None:
        """All jobs of the cluster, once; whether an ended one's pods are gone is seen at its first pass."""
        for job in jobs:
            key = JobKey(job.namespace, job.name)
            self._claims.setdefault(key, _claim(key, job, job.spec, job.status, living=False))

    def look(self, key: JobKey, seen: Observed) -> Owner | None:
        """Note a job as it is; the other job that owns its directory now, or goes first."""
        self._earlier = self._claims.get(key)
        self._note(key, seen, seen.job.status)
        mine = self._claims[key]
        if mine.directory is None or mine.owns:
            return None
        others = [claim for claim in self._sharing(mine) if claim.uid != mine.uid]
        ahead = [c for c in others if c.owns] or [c for c in others if c.wants and c.age < mine.age]
        first = min(ahead, key=lambda claim: claim.age, default=None)
        if first is None:
            return None
        return Owner(first.uid, first.key.namespace, first.key.name)

    def decided(self, key: JobKey, seen: Observed, status: JobStatus) -> list[JobKey]:
        """Note what was just decided; the jobs that should look again because this one stands back."""
        before = (self._earlier, self._claims.get(key))
        self._note(key, seen, status)
        return self._released(before, self._claims[key])

    def forget(self, key: JobKey) -> list[JobKey]:
        """The job is gone; the jobs that should look again."""
        return self._released((self._claims.pop(key, None),), None)

    def _note(self, key: JobKey, seen: Observed, status: JobStatus) -> None:
        living = any(not pod.ended for pod in seen.own_pods)
        spec = seen.accepted or seen.job.spec
        self._claims[key] = _claim(key, seen.job, spec, status, living=living)

    def _released(self, before: Iterable[_Claim | None], after: _Claim | None) -> list[JobKey]:
        """Who waits for what this one held: its own look may have found it free, with pods gone since."""
        if after is not None and (after.owns or after.wants):
            return []
        held = next((claim for claim in before if claim and (claim.owns or claim.wants)), None)
        return [] if held is None else [c.key for c in self._sharing(held) if c.wants]

    def _sharing(self, mine: _Claim) -> list[_Claim]:
        where = mine.directory
        return [
            c for c in self._claims.values() if where and c.directory == where and c.key != mine.key
        ]


def _claim(
    key: JobKey, job: Job, spec: JobSpec | None, status: JobStatus, *, living: bool
) -> _Claim:
    began, ended = status.attempt > 0, st.finished(status) or job.deleting
    ours = job.managed_by == names.MANAGED_BY and spec is not None
    return _Claim(
        key=key,
        uid=job.uid,
        created=job.created,
        directory=directory_of(job.namespace, spec) if spec is not None else None,
        owns=ours and (living or (began and not ended)),
        wants=ours and not began and not ended and not _is_suspended(job.spec or spec),
    )


def _is_suspended(spec: JobSpec | None) -> bool:
    return spec is not None and spec.run_policy.suspend


def directory_of(namespace: str, spec: JobSpec) -> Directory | None:
    """The run directory of a job; None when no other job can have the same."""
    found = mount_of(spec.checkpoint.uri, spec)
    if found is None:
        return None
    mount, volume = found
    claim = volume.persistent_volume_claim if volume is not None else None
    if claim is None:
        return None
    inside = PurePosixPath(spec.checkpoint.uri).relative_to(PurePosixPath(mount.mount_path))
    return (
        namespace,
        claim.claim_name,
        _straight(PurePosixPath("/", mount.sub_path.lstrip("/"), inside)),
    )


def _straight(path: PurePosixPath) -> str:
    """Without `..`: two spellings of one directory are one directory."""
    parts: list[str] = []
    for part in path.parts[1:]:
        parts = parts[:-1] if part == ".." else [*parts, part]
    return "/" + "/".join(parts)
