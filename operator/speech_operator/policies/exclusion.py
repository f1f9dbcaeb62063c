"""Nodes that the next attempts keep away from: the suspect's, when an attempt ended with 16 or 46.

At most MAX_EXCLUDED of them, each for a day, listed in `status.excludedNodes`. Called in three places: `restart`
adds the suspect, `gang` forgets what is over when it opens an attempt, and the policy below lets all of them in
again when the job finds no room without them: a suspicion must not starve a job.
"""

from __future__ import annotations

import dataclasses
from typing import Final

from speech_contract.outcome import EXIT_OTHER_HARDWARE, EXIT_RANK_DISAGREES, Next
from speech_contract.reasons import Reason
from speech_contract.status import MAX_EXCLUDED, ExcludedNode, JobStatus
from speech_operator import status as st
from speech_operator.ending import UNSCHEDULABLE, Ending
from speech_operator.plan import Draft
from speech_operator.snapshot import Observed, PodRecord
from speech_operator.timestamps import to_epoch, to_text

BLAMES_THE_NODE: Final = frozenset({EXIT_OTHER_HARDWARE, EXIT_RANK_DISAGREES})
EXCLUDED_SECONDS: Final = 24 * 3600.0  # long enough to be looked at; nobody has to take it back
PATIENCE_SECONDS: Final = (
    60.0  # pods of the attempt before may still be leaving the nodes that are left
)


def exclude(seen: Observed, draft: Draft, ending: Ending, now: float) -> Draft:
    """Leave the suspect's node out from now on; one machine has no other."""
    blamed = ending.exit_code in BLAMES_THE_NODE and ending.node and not seen.platform.local
    if not blamed:
        return draft
    until = to_text(now + EXCLUDED_SECONDS)
    node = ExcludedNode(ending.node, draft.status.attempt, ending.cause, until)
    others = tuple(n for n in still_excluded(draft.status, now) if n.name != ending.node)
    nodes = (*others, node)[-MAX_EXCLUDED:]
    rank = "" if ending.rank is None else f" of rank {ending.rank}"
    message = f"node {ending.node}{rank} is left out until {until}: {ending.cause}"
    status = dataclasses.replace(draft.status, excluded_nodes=nodes)
    return draft.to(status=status).told(Reason.NODE_EXCLUDED, message, warning=True)


def still_excluded(status: JobStatus, now: float) -> tuple[ExcludedNode, ...]:
    """Those whose time is not over."""
    return tuple(node for node in status.excluded_nodes if to_epoch(node.until) > now)


def exclusion(seen: Observed, draft: Draft, now: float) -> Draft:
    """Pods that find no node while some are left out: end the attempt as an interruption, and let them in."""
    excluded = draft.status.excluded_nodes
    if draft.ending is not None or not excluded or st.open_attempt(draft.status) is None:
        return draft
    waiting = [pod for pod in seen.current_pods if _waits(pod)]
    if not waiting:
        return draft
    left = min(pod.unschedulable_since or now for pod in waiting) + PATIENCE_SECONDS - now
    if left > 0:
        return draft.requeued(left)
    nodes = ", ".join(node.name for node in excluded)
    message = (
        f"{', '.join(pod.name for pod in waiting[:4])} found no node for {PATIENCE_SECONDS:.0f} s "
        f"without {nodes}; these are allowed again"
    )
    ending = Ending(UNSCHEDULABLE, message, Next.RESUME, counted=False, pod=waiting[0].name)
    status = dataclasses.replace(st.note_attempt(draft.status, ending), excluded_nodes=())
    draft = draft.to(status=status, ending=ending)
    return draft.told(Reason.EXCLUSION_DROPPED, message, warning=True)


def _waits(pod: PodRecord) -> bool:
    return pod.unschedulable_since is not None and not pod.deleting and not pod.ended
