"""A namespace with a voice to train, for `tests/e2e`, `make accept-cluster` and `make cluster`."""

from pathlib import Path

from bed.cluster import Bed
from product import jobs
from product.installed import Namespace

from speech_trainer.data.synthesize import SynthesisPlan, synthesize


def voiced(bed: Bed, name: str, folder: Path, plan: SynthesisPlan) -> Namespace:
    """The namespace `name` with synthesized sentences on one claim and another for checkpoints.

    `folder` (of this machine) holds what the claims hold. Raises as Namespace and `synthesize`.
    """
    claims = {claim: folder / claim for claim in (jobs.DATA, jobs.CHECKPOINTS)}
    for place in (folder, *claims.values()):
        place.mkdir(parents=True, exist_ok=True)
        place.chmod(0o755)  # pods are other users
    synthesize(plan, claims[jobs.DATA])
    return Namespace(bed, name, **claims)
