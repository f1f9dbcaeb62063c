"""Who owns a run directory (`checkpoint.uri`): one job at a time, on whatever cluster.

Written by the supervisor of node rank 0 (`speech_telemetry.ownership`); named by the operator, `speechtrain run` and
the supervisor to whoever comes second, in one sentence.
"""

from __future__ import annotations

from typing import Final

from speech_contract.values import Value, frozen

CLUSTER: Final = "cluster"
LAPTOP: Final = "laptop"


@frozen
class Owner(Value):
    """A job that may write into a run directory. `attempt` 0: it has not begun one."""

    uid: str
    namespace: str
    name: str
    attempt: int = 0
    place: str = CLUSTER

    def __str__(self) -> str:
        where = " on this machine" if self.place == LAPTOP else ""
        return f"job {self.namespace}/{self.name}{where}"

    @property
    def ending(self) -> str:
        """The command that ends it."""
        if self.place == LAPTOP:
            return f"speechtrain suspend {self.name} -n {self.namespace} --local"
        return f"kubectl delete stj {self.name} -n {self.namespace}"


def in_use(uri: str, owner: Owner) -> str:
    """What a person reads whose job would be the second one in a run directory."""
    return (
        f"checkpoint.uri: {uri} belongs to {owner}, which has not ended; give this job a checkpoint.uri of its "
        f"own, or end that one first: `{owner.ending}`"
    )
