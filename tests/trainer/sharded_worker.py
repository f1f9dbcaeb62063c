"""All ranks of the sharded toy in one process start: `python sharded_worker.py DIRECTORY`.

Torch is imported once, with what its first optimizer imports, and the ranks are forked: first three of them that
kill themselves at the end, then three and two and one that go on from what is left. Each writes what it saw to
`DIRECTORY/<life>-<rank>.json`.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import torch
import toy
from torch.distributed.tensor import DTensor
from toy_sharded import ShardedToy, make_config

from speech_contract.codec import to_document
from speech_contract.events import Event
from speech_contract.run_config import Precision
from speech_contract.thresholds import HealthMode, Preflight, RankDivergence
from speech_trainer.engine import sharded
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.flags import LateFlags
from speech_trainer.engine.gate import Gate
from speech_trainer.engine.layout import Layout
from speech_trainer.engine.layouts import choose
from speech_trainer.engine.recipe import Built, RecipeContext
from speech_trainer.engine.state import live_tensors
from speech_trainer.errors import TrainerError
from speech_trainer.preflight import run as preflight

DEADLINE = 120.0  # seconds of one life
EVERYWHERE = toy.Faults(positions=((0, 1_000_000),))


def open_world(directory: Path, name: str, rank: int, size: int) -> World:
    """Ranks meet at a file."""
    meeting = f"file://{directory / name}.rendezvous"
    return World(Ranks(rank, size), torch.device("cpu"), meeting)


def build(world: World, directory: Path) -> tuple[ShardedToy, Built, Layout]:
    config = make_config(directory, ranks_per_node=world.size)
    torch.manual_seed(0)
    recipe = ShardedToy(RecipeContext(config, world.device, world.rank, world.size, directory))
    built = recipe.build()
    layout = choose(built, Precision.FP32)
    layout.wrap(built, world)
    return recipe, built, layout


# -- steps -----------------------------------------------------------------------------------------------------


def gate(world: World, directory: Path) -> dict[str, Any]:
    """A bad first step, good ones, and one that is bad on rank 1 alone: what changed of this rank's parts."""
    recipe, built, layout = build(world, directory)
    judge = Gate(built, world.device, world.rank, world.size, layout)
    flags, seen = LateFlags(), dict[str, Any]()
    for step, bad in enumerate([True, False, False, True], start=1):
        recipe.faults = EVERYWHERE if bad and world.rank == 1 else toy.Faults()
        before = {k: layout.local(v).clone() for k, v in live_tensors(built).items()}
        judge.begin()
        record = recipe.train_step(built, recipe.stream.next_batch(), step)
        verdict = judge.judge(record.losses, step, interrupt=False)
        judge.commit(verdict, lambda bad, step=step: recipe.after_update(built, step, bad))
        flags.push(step, (0, 0), verdict)
        after = {k: layout.local(v) for k, v in live_tensors(built).items()}
        seen[f"step {step}"] = {
            "bad": flags.take()[0].bad,
            "changed": [k for k, v in before.items() if not torch.equal(v, after[k])],
            "finite": all(bool(v.isfinite().all()) for v in after.values()),
            "steps taken": [float(v) for k, v in after.items() if k.endswith("/step")],
            "norms": [float(n) for n in (*verdict.module_norms, verdict.gradient_norm)],
            "plain": not any(isinstance(t, DTensor) for t in vars(verdict).values()),
        }
    seen["held"] = {k: v.numel() for k, v in after.items()}

    return seen


def trained_parameters(built: Built) -> list[torch.Tensor]:
    return [p for g in built.optimizers["net"].optimizer.param_groups for p in g["params"]]


def accumulate(world: World, directory: Path) -> list[bool]:
    """Two small backward passes and one of both at once leave the same gradients."""
    recipe, built, layout = build(world, directory)
    built.models["net"].eval()
    first, second = recipe.stream.next_batch(), recipe.stream.next_batch()

    def gradients(act: Callable[[], None]) -> list[torch.Tensor]:
        built.models["net"].zero_grad(set_to_none=True)
        act()
        return [
            layout.local(p.grad).clone() for p in trained_parameters(built) if p.grad is not None
        ]

    def both() -> None:
        net = built.models["net"]
        (net(first.x).square().sum() + net(second.x).square().sum()).backward()

    def apart() -> None:
        net = built.models["net"]
        with layout.accumulating(built.models.values()):
            net(first.x).square().sum().backward()
        net(second.x).square().sum().backward()

    pairs = zip(gradients(both), gradients(apart), strict=True)
    return [torch.allclose(one, other, atol=1e-5) for one, other in pairs]


# -- runs ------------------------------------------------------------------------------------------------------


class TermedOnRank1(ShardedToy):
    """SIGTERM reaches rank 1 alone, in the middle of step 7."""

    def train_step(self, built: Any, batch: Any, step: int) -> Any:
        if step == 7 and self.context.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().train_step(built, batch, step)


class KilledAt8(ShardedToy):
    """SIGKILL in the middle of step 8."""

    def train_step(self, built: Any, batch: Any, step: int) -> Any:
        if step == 8:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(built, batch, step)


class OddStart(ShardedToy):
    """Rank 1 starts from other weights: split, they would make a patchwork."""

    def build(self) -> Built:
        built = super().build()
        with torch.no_grad():
            for parameter in built.models["net"].parameters():
                parameter += self.context.rank == 1
        return built


class NoSpaceOnRank2:
    """The disk of rank 2 is full."""

    def __init__(self, rank: int) -> None:
        self._rank, self._writer = rank, sharded.HuggingFaceStorageWriter

    def __enter__(self) -> None:
        rank, writer = self._rank, self._writer

        class Writer(writer):  # type: ignore[misc, valid-type]
            def write_data(self, *rest: Any) -> Any:
                if rank == 2:
                    raise OSError(errno.ENOSPC, "No space left on device")
                return super().write_data(*rest)

        sharded.HuggingFaceStorageWriter = Writer  # type: ignore[misc]

    def __exit__(self, *exception: object) -> None:
        sharded.HuggingFaceStorageWriter = self._writer  # type: ignore[misc]


def run(world: World, folder: Path, **more: Any) -> dict[str, Any]:
    """One attempt, and what it said."""
    limits = {"rank_divergence": RankDivergence(every_steps=2), **more.pop("health", {})}
    config = make_config(
        folder,
        attempt=more.pop("attempt", 1),
        ranks_per_node=world.size,
        training={"max_steps": more.pop("steps", 12), "evaluate_every_steps": 6},
        health=limits,
        non_finite=more.pop("non_finite", {}),
    )
    recipe = more.pop("recipe", ShardedToy)
    one = toy.make(config, world=world, recipe=recipe, preflight=preflight.run, **more)
    message = ""
    try:
        code = one.run()
    except TrainerError as error:
        code, message = error.exit_code, str(error)
    told, last = [d for d in one.said.datagrams if d.peers is not None], one.said.last
    report = last.preflight
    return {
        "code": code,
        "message": message,
        "saved": one.said.steps_of(Event.CHECKPOINT_SAVED),
        "resumed": last.resumed_from_step,
        "steps": [d.step for d in one.said.datagrams if d.losses],
        "losses": [d.losses["total"] for d in one.said.datagrams if d.losses],
        "rollbacks": last.rollbacks,
        "non_finite": last.non_finite_steps,
        "exported": one.recipe.exported is not None,
        "evaluated": one.said.steps_of(Event.EVALUATION_FINISHED),
        "sections": [step for step, _ in one.said.sections],
        "moved": [d.weights.movement for d in one.said.datagrams if d.weights],
        "peers": [to_document(d.peers) for d in told],
        "failed rows": [f"{r.check.value} {r.field}" for r in report.failed] if report else None,
    }


OFF = {"preflight": Preflight(mode=HealthMode.OFF)}


def first_life(directory: Path, rank: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """Three ranks, until they are killed."""
    world = open_world(directory, "first", rank, 3)
    size, seen = toy.BATCH * 3, dict[str, Any]()
    seen["gate"] = gate(world, directory / "gate")
    seen["accumulated"] = accumulate(world, directory / "gate")
    seen["whole"] = run(world, directory / "whole")
    bad = tuple((p, p + 1) for p in range(8 * size + 1, 10 * size, 3))  # steps 9 and 10 of rank 1
    faults, little = toy.Faults(positions=bad), {"skip_budget": 1}
    nan = run(world, directory / "nan", faults=faults, non_finite=little, health=OFF)
    seen["rolled back"] = nan
    seen["interrupted"] = run(world, directory / "cut", recipe=TermedOnRank1, health=OFF)
    with NoSpaceOnRank2(rank):
        seen["full disk"] = run(world, directory / "full", health=OFF)
    seen["odd start"] = run(world, directory / "odd", recipe=OddStart)
    tell(seen)
    run(world, directory / "killed", recipe=KilledAt8, health=OFF)


def second_life(directory: Path, rank: int, tell: Callable[[dict[str, Any]], None]) -> None:
    """What they left is continued by three, by two, and by one."""
    seen = dict[str, Any]()
    world = open_world(directory, "three", rank, 3)
    seen["after a kill"] = run(world, directory / "killed", attempt=2)
    seen["after a signal"] = run(world, directory / "cut", attempt=2)
    world.close()
    if rank < 2:
        if rank == 0:
            shutil.copytree(directory / "whole", directory / "fewer")
        world = open_world(directory, "two", rank, 2)
        seen["exported by two"] = run(world, directory / "fewer", attempt=2)
        if rank == 0:
            os.rename(directory / "fewer" / "export", directory / "exported-by-two")
        seen["two go on"] = run(world, directory / "fewer", attempt=3, steps=18)
        world.close()
    if rank == 0:
        alone = World(Ranks(), torch.device("cpu"))
        seen["one goes on"] = run(alone, directory / "fewer", attempt=4, steps=24)
    tell(seen)


def start(life: Callable[..., None], directory: Path, rank: int) -> int:
    """A rank in a process of its own."""

    def tell(seen: dict[str, Any]) -> None:
        (directory / f"{life.__name__}-{rank}.json").write_text(json.dumps(seen))

    def lived() -> None:
        # Here: a pool of the parent's would be invalid, and found so at random.
        torch.set_num_threads(1)
        life(directory, rank, tell)

    return forked.fork(lived)


def main() -> int:
    directory = Path(sys.argv[1])
    ShardedToy(RecipeContext(make_config(directory), torch.device("cpu"), 0, 1, directory)).build()
    for life, expected in ((first_life, -signal.SIGKILL), (second_life, 0)):
        waiting = {start(life, directory, rank) for rank in range(3)}
        until = time.monotonic() + DEADLINE
        codes = []
        while waiting and time.monotonic() < until and not any(c != expected for c in codes):
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid:
                waiting.discard(pid)
                codes.append(os.waitstatus_to_exitcode(status))
            time.sleep(0.02)
        for pid in waiting:
            os.kill(pid, signal.SIGKILL)
        if codes != [expected] * 3:
            sys.stderr.write(f"{life.__name__}: {codes}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
