"""Which part of a job's output a person asked for. Built by `commands.logs`, answered by the places."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from speech_cli.rendering.view import Document, mapping, objects, whole
from speech_contract import env
from speech_contract.values import Value, frozen

_GPU_SUFFIX = ".com/gpu"


@frozen
class LogRequest(Value):
    """At most one of `rank` and `node_rank` is set; neither means rank 0. `tail` in lines."""

    rank: int | None = None
    node_rank: int | None = None
    attempt: int | None = None
    tail: int = 50
    follow: bool = False

    def node(self, ranks_per_node: int) -> int:
        """The node rank whose pod has it."""
        if self.node_rank is not None:
            return self.node_rank
        return (self.rank or 0) // ranks_per_node

    def first_rank(self, ranks_per_node: int) -> int:
        """The global rank whose log has it: of a node its first."""
        if self.node_rank is not None:
            return self.node_rank * ranks_per_node
        return self.rank or 0


def told_by_pods(pods: Iterable[Mapping[str, Any]]) -> int | None:
    """Ranks of each pod, as the pods were told; None where there are none."""
    for pod in pods:
        for container in objects(pod, "spec", "containers"):
            found = {v.get("name"): v.get("value") for v in objects(container, "env")}
            if number := whole(found.get(env.PET_NPROC_PER_NODE)):
                return number
    return None


def ranks_per_node(document: Document) -> int:
    """As the operator counts on a cluster: `nprocPerNode`, else the GPUs of a node, else 1."""
    spec = mapping(document, "spec")
    given = whole(spec.get("nprocPerNode"))
    if given is not None:
        return max(1, given)
    limits = mapping(spec, "trainer", "resourcesPerNode", "limits")
    return max(
        1, sum(whole(n) or 0 for name, n in limits.items() if str(name).endswith(_GPU_SUFFIX))
    )
