"""A gang loses a node for good: the whole story, with an operator that dies after any of its writes."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import Any

from speech_contract.phases import Phase
from speech_operator.apply import apply
from speech_operator.observe import observe
from speech_operator.reconcile import reconcile
from speech_operator.snapshot import NodeRecord, PodPhase


async def lose_a_node(cluster: Any, build: Any, crash: type[BaseException]) -> list[str]:
    """A gang trains, its worker's node goes silent, is taken out of the cluster; what was there at each pass."""
    now, alive = build.now, []
    told = build.progress(phase=Phase.TRAINING, running=True)
    for at in range(28):
        now += 10.0
        attempts = {pod.attempt for pod in cluster.pods.values()}
        alive.append("+".join(map(str, sorted(attempts))))
        for name, pod in list(cluster.pods.items()):
            if pod.deleting and pod.node != "node-1":
                del cluster.pods[name]
            elif pod.phase is PodPhase.PENDING:
                rank = pod.node_rank
                placed = f"node-{rank}" if pod.attempt == 1 else f"node-{rank + 5}"
                cluster.pods[name] = dataclasses.replace(pod, phase=PodPhase.RUNNING, node=placed)
        stuck_pods = {n: p for n, p in cluster.pods.items() if p.deleting}
        for name, pod in stuck_pods.items():
            cluster.pods[name] = dataclasses.replace(pod, gone_by=pod.gone_by or now + 30)
        first = "asr-worker-0" in cluster.pods and cluster.pods["asr-worker-0"].attempt == 1
        if at == 5:
            cluster.nodes_known["node-1"] = NodeRecord("node-1", "u", not_ready_since=now)
        if at == 17:
            cluster.nodes_known["node-1"] = NodeRecord("node-1", "", gone=True)
        unheard = {"1": 10.0 * (at - 5)} if first and at > 5 else {}
        attempt = (cluster.document.get("status") or {}).get("attempt", 1)
        news = dataclasses.replace(told, attempt=attempt, unheard=unheard)
        try:
            seen = await observe(cluster, build.key, news, 1.0)
            assert seen is not None
            await apply(cluster, build.key, seen, reconcile(seen, now), at_once=1)
        except crash:
            cluster.dead = False  # another operator takes over
    return alive


def sweep(cluster: Any, build: Any, crash: type[BaseException]) -> tuple[Any, ...]:
    alive = asyncio.run(lose_a_node(cluster, build, crash))
    status = cluster.document["status"]
    assert not any("+" in both for both in alive), "two attempts alive"
    return (
        status["state"],
        status["attempt"],
        [a.get("cause") for a in status["attempts"]],
        sorted((p.name, p.attempt, p.node) for p in cluster.pods.values()),
        [name for name, grace in cluster.graces if grace == 0],
    )


def test_a_lost_node_ends_the_same_whatever_write_the_operator_dies_after(
    build: Any, make_cluster: Any, crash: Any
) -> None:
    calm = make_cluster()
    wanted = sweep(calm, build, crash)
    assert wanted[:3] == ("Running", 2, ["NodeLost", None])
    assert wanted[4] == ["asr-worker-0"]
    for write in range(1, calm.writes + 1):
        state, *rest = sweep(make_cluster(crash_after=frozenset({write})), build, crash)
        assert (state, *rest) == wanted, f"a crash after write {write}"
