"""Whether an operator still keeps a job's status up to date, told by the age of its last sign. Called by the places.

The operator renews `progress.heardAt` each minute while an attempt has a master to ask, so an old one says that the
operator is gone, whatever the rest of the status claims. No right beyond reading the job is needed for that.
"""

from __future__ import annotations

from typing import Final

from speech_cli.rendering import words
from speech_cli.rendering.view import Document, moment, status_of
from speech_contract.findings import FindingStatus, Verdict
from speech_contract.status import HEARD_EVERY_SECONDS
from speech_contract.unattended import rests, unattended

SILENT_SECONDS: Final = 3 * HEARD_EVERY_SECONDS
LOOK: Final = (
    "look whether the operator runs (`kubectl get pods -A -l app.kubernetes.io/name=speechtrain`) and reads "
    "this namespace; the pods train on without it, and nobody acts upon what they report"
)


def aged(document: Document, now: float, remedy: str = LOOK) -> Document:
    """The job as a person should see it at `now` (epoch seconds): of an old status the health is not known."""
    status = status_of(document)
    heard = moment(status.progress.heard_at)
    if heard is None or rests(document) or now - heard < SILENT_SECONDS:
        return document
    health = status.health
    if health.verdict is Verdict.UNKNOWN and any(
        f.status is FindingStatus.ACTIVE and f.rule.record.blind for f in health.findings
    ):
        return document  # whoever wrote it said so: the master is silent
    evidence = (
        f"nobody has heard of this attempt for {words.duration(now - heard)}, a sign is due each "
        f"{HEARD_EVERY_SECONDS:.0f} s"
    )
    return unattended(document, evidence, remedy)
