"""Last policy: all pods of an attempt or none. Opens an attempt when every older pod is gone, creates what lacks.

The open attempt in status is the intent; pods and run config follow from it, so a pass that was cut short is
simply taken up.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

from speech_contract.reasons import Condition, Reason
from speech_operator import status as st
from speech_operator.children import CONFIG_MAP, FLAVOR, POD, SERVICE
from speech_operator.plan import Create, Delete, Draft
from speech_operator.policies.exclusion import still_excluded
from speech_operator.policies.restart import grace_after
from speech_operator.resources.config_map import build_config_map, build_run_config
from speech_operator.resources.pods import build_pod
from speech_operator.resources.service import build_service
from speech_operator.resources.workload import admitted
from speech_operator.snapshot import Observed
from speech_operator.workloads import own_workload, queued


def gang(seen: Observed, draft: Draft, now: float) -> Draft:
    """Clear away what is old, open the next attempt, complete the current one."""
    if st.open_attempt(draft.status) is None:
        if seen.own_pods:
            return _clear(seen, draft)
        draft = _open(draft, now)
    elif st.gang_was_whole(draft.status):
        return draft
    return _complete(seen, draft, now)


def _clear(seen: Observed, draft: Draft) -> Draft:
    """Old pods go first: a pod is created only after the old uid of its name is gone."""
    last = draft.status.attempts[-1].reason if draft.status.attempts else None
    grace = grace_after(last, seen)
    deletes = [Delete(POD, p.name, p.uid, grace) for p in seen.own_pods if not p.deleting]
    return draft.deleting(*deletes)


def _open(draft: Draft, now: float) -> Draft:
    nodes = still_excluded(draft.status, now)
    status = st.begin_attempt(dataclasses.replace(draft.status, excluded_nodes=nodes), now)
    draft = draft.to(status=status, status_first=True)
    if status.attempt == 1:
        return draft.told(Reason.ATTEMPT_STARTED, "attempt 1 starts")
    return draft.told(Reason.GANG_RESTART, f"attempt {status.attempt} starts: all pods come back")


def _complete(seen: Observed, draft: Draft, now: float) -> Draft:
    attempt, nodes = draft.status.attempt, seen.spec.num_nodes
    # One that came late, and has one of our names until it is gone: so long the gang is not whole.
    old = [p for p in seen.own_pods if p.attempt != attempt]
    grace = grace_after(None, seen)
    draft = draft.deleting(*(Delete(POD, p.name, p.uid, grace) for p in old if not p.deleting))
    # Not before the new one is there: the newest holds what the job was accepted with.
    stale = seen.stale_run_configs if seen.run_config is not None else ()
    draft = draft.deleting(*(Delete(CONFIG_MAP, one.name, one.uid) for one in stale))
    if seen.foreign_pods:
        return _name_taken(seen, draft, now)
    taken = {pod.node_rank for pod in seen.own_pods}
    missing = [rank for rank in range(nodes) if rank not in taken]
    if not missing and not old:
        return draft.to(status=st.with_whole_gang(draft.status, nodes, now))
    return draft.to(creates=draft.creates + _children(seen, draft, missing))


def _children(seen: Observed, draft: Draft, missing: list[int]) -> tuple[Create, ...]:
    """Run config before pods: a pod that mounts it would wait for it, and the supervisor reads it at once."""
    assert seen.endpoints is not None, "observe always gives endpoints"
    exists = seen.run_config is not None and seen.run_config.attempt == draft.status.attempt
    config = seen.run_config if exists else build_run_config(seen, draft.status)
    assert config is not None
    creates = []
    if not exists:
        creates.append(Create(CONFIG_MAP, partial(build_config_map, seen.job, config, seen.spec)))
    if not seen.service_present:
        creates.append(Create(SERVICE, partial(build_service, seen.job)))
    excluded = [node.name for node in draft.status.excluded_nodes]
    workload = own_workload(seen) if queued(seen) else None

    def pod(rank: int) -> dict[str, Any]:
        manifest = build_pod(seen, config, rank, excluded)
        return admitted(manifest, workload, seen.of(FLAVOR)) if workload else manifest

    return (*creates, *(Create(POD, partial(pod, rank)) for rank in missing))


def _name_taken(seen: Observed, draft: Draft, now: float) -> Draft:
    names_taken = ", ".join(sorted(pod.name for pod in seen.foreign_pods))
    message = f"pods {names_taken} belong to somebody else; delete them or rename this job"
    told = st.has_reason(draft.status, Condition.RUNNING, Reason.NAME_TAKEN)
    status = st.with_condition(
        draft.status, Condition.RUNNING, False, Reason.NAME_TAKEN, message, now
    )
    draft = draft.to(status=status).requeued(10.0)
    return draft if told else draft.told(Reason.NAME_TAKEN, message, warning=True)
