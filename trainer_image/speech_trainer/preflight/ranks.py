"""Do all ranks start from the same, and reduce at one pace? Called by `preflight.run` on every rank."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from typing import Final

import torch
import torch.distributed as dist

from speech_contract.preflight import Check, CheckResult
from speech_trainer.engine.distributed import World
from speech_trainer.preflight.rows import number, row, skipped, warning

FLOATS: Final = 1 << 20  # 4 MB a reduction: a usual bucket of gradients is 25 MB, a small one 1 MB
ROUNDS: Final = 3
MATRIX: Final = 256
SLOW: Final = 3.0  # times the median rank
SLOW_SECONDS: Final = 0.05  # below it a busy core explains everything


@dataclasses.dataclass(frozen=True)
class Fact:
    """What one rank measured. `reduced`: what a sum of (rank + 1) came to."""

    digest: str
    weights: str
    compute_seconds: float
    reduce_seconds: float
    reduced: float


def check(weights: str, world: World, digest: str, clock: Callable[[], float]) -> list[CheckResult]:
    """Rows about all ranks, the same on each. `weights`: this rank's fingerprint of them, `digest`: of its config."""
    if world.size == 1:
        return [skipped(Check.RANKS, "one rank")]
    compute = _compute(world.device, clock)
    seconds, reduced = _reduce(world, clock)
    return judge(world.gather(Fact(digest, weights, compute, seconds, reduced)))


def judge(facts: Sequence[Fact]) -> list[CheckResult]:
    """Configuration, weights, arithmetic and pace of the ranks. Pure."""
    count = len(facts)
    wanted = count * (count + 1) / 2
    wrong = [fact.reduced for fact in facts if fact.reduced != wanted]
    seconds = max(statistics.median([fact.reduce_seconds for fact in facts]), 1e-9)
    rate = 2 * (count - 1) / count * FLOATS * 4 / seconds
    usual = statistics.median([fact.compute_seconds for fact in facts])
    slow = {
        rank: fact.compute_seconds
        for rank, fact in enumerate(facts)
        if fact.compute_seconds > SLOW * usual and fact.compute_seconds > SLOW_SECONDS
    }
    shown = ", ".join(f"rank {rank} {number(taken)} s" for rank, taken in slow.items())
    return [
        _agree("configuration", [fact.digest for fact in facts], "give all pods one run config"),
        _agree("initial weights", [fact.weights for fact in facts], "load the same files on all nodes"),
        row(
            Check.RANKS, "all-reduce", not wrong, f"{wrong or wanted}, {rate / 1e9:.2f} GB/s", f"{wanted:g}",
            "test the GPUs and links of the nodes: a reduction gave a wrong sum",
        ),
        warning(
            Check.RANKS, "pace", not slow, shown or f"{number(usual)} s each", f"within {SLOW:g} × the median rank",
            "look at the node of that rank: clocks, other load, thermal limits",
        ),
    ]  # fmt: skip


def _agree(what: str, values: Sequence[str], remedy: str) -> CheckResult:
    odd = [rank for rank, value in enumerate(values) if value != values[0]]
    shown = f"ranks {odd} differ from rank 0" if odd else "the same everywhere"
    return row(Check.RANKS, what, not odd, shown, "the same on every rank", remedy)


def _compute(device: torch.device, clock: Callable[[], float]) -> float:
    """Seconds of a little work that needs nobody else; the first round warms up."""
    matrix = torch.ones(MATRIX, MATRIX, device=device)
    taken = 0.0
    for _ in range(2):
        began = clock()
        for _ in range(ROUNDS):
            matrix = (matrix @ matrix).clamp(max=1.0)
        float(matrix[0, 0])
        taken = clock() - began
    return taken


def _reduce(world: World, clock: Callable[[], float]) -> tuple[float, float]:
    """Median seconds of one reduction, and what a known sum came to."""
    taken, total = [], 0.0
    for _ in range(ROUNDS):
        values = torch.full((FLOATS,), float(world.rank + 1), device=world.device)
        began = clock()
        dist.all_reduce(values)
        total = float(values[-1])
        taken.append(clock() - began)
    return statistics.median(taken), total
