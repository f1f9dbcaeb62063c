"""Ranks of small cloning runs, forked from one import of torch: `python cloning_worker.py DIRECTORY`.

DIRECTORY holds `data`, and `base`, a model to adapt. Three ranks go through every case; three train one of them once
more and are killed at up to ten moments; two go on from what three have saved. Each rank writes what it saw of a run to
`DIRECTORY/<run>-<rank>.json`.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forked
import small_cloning
import torch

from speech_contract import paths
from speech_contract.recipes import Adapters, CloningBackbone
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.recipe import Built, StepRecord

# Ranks; steps; every so many a checkpoint; the step that is NaN.
RANKS, STEPS, SAVED, BAD = 3, 6, 3, 2
LONG = 8  # steps of a run that is killed and saved at every second one


@dataclasses.dataclass(frozen=True)
class Case:
    """A way to train. `split`: FSDP2, else DDP. `nan`: the rank whose step BAD is no number. `tokens`: at once."""

    backbone: CloningBackbone
    split: bool
    adapted: bool = False
    nan: int | None = None
    tokens: int | None = None


CASES = {
    "split-v3": Case(CloningBackbone.V3, split=True, tokens=160),
    "split-v2": Case(CloningBackbone.V2, split=True),
    "whole-v3": Case(CloningBackbone.V3, split=False, tokens=160),
    "adapters-v3": Case(CloningBackbone.V3, split=False, adapted=True),
    "nan-split-v3": Case(CloningBackbone.V3, split=True, nan=1),
    "nan-adapters-v3": Case(CloningBackbone.V3, split=False, adapted=True, nan=1),
}
MORE = {"split-v3": 10, "adapters-v3": 3}  # that are continued by two, and killed so often

Act = Callable[[int], None]  # given the step


def no_act(step: int) -> None:
    """An undisturbed run."""


def run(
    case: Case,
    directory: Path,
    name: str,
    world: World,
    *,
    attempt: int = 1,
    steps: int = STEPS,
    saved: int = SAVED,
    act: Act = no_act,
) -> dict[str, Any]:
    """Steps on uneven shares: 7 utterances a batch. `act` is called at the begin and at the end of each."""
    recipe: dict[str, Any] = {"backbone": case.backbone, "micro_batch_tokens": case.tokens}
    if case.adapted:
        recipe |= {"pretrained": str(directory / "base"), "adapters": Adapters.LORA}

    def wrapped(made: Any) -> Any:
        step_of = made.train_step

        def train_step(built: Built, batch: Any, step: int) -> StepRecord:
            act(step)
            record: StepRecord = step_of(built, batch, step)
            act(step)
            bad = case.nan is not None and step == BAD and world.rank == case.nan % world.size
            return spoilt(built, record) if bad else record

        made.train_step = train_step
        return made

    with small_cloning.settled(split=case.split, batch_size=7):
        torch.manual_seed(0)
        config = small_cloning.config_of(
            directory / name,
            directory / "data",
            attempt=attempt,
            ranks_per_node=world.size,
            training={"max_steps": steps},
            checkpoint={"every_steps": saved},
            recipe=recipe,
        )
        made = small_cloning.make(config, checked=attempt == 1, world=world, wrap=wrapped)
        code = made.engine.run()
    told = [d for d in made.said.datagrams if d.losses]
    return {
        "code": code,
        "steps": [d.step for d in told],
        "losses": [d.losses["total"] for d in told],
        "resumed": made.said.last.resumed_from_step,
        "skipped": made.said.last.non_finite_steps,
    }


def spoilt(built: Built, record: StepRecord) -> StepRecord:
    """A loss that is no number, and the gradients that follow from it."""
    for model in built.models.values():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(float("nan"))
    losses = {name: value * float("nan") for name, value in record.losses.items()}
    return dataclasses.replace(record, losses=losses)


# -- lives ----------------------------------------------------------------------------------------------------------


def every_case(directory: Path, rank: int) -> None:
    """Three ranks, each case in its turn: those of a case meet at a file of its own."""
    for name, case in CASES.items():
        world = open_world(directory, name, rank, RANKS)
        tell(directory, name, rank, run(case, directory, name, world))
        world.close()


def undisturbed(directory: Path, rank: int) -> None:
    """What a killed run must come to."""
    for name in MORE:
        world = open_world(directory, f"calm-{name}", rank, RANKS)
        seen = run(CASES[name], directory, f"calm-{name}", world, steps=LONG, saved=2)
        tell(directory, f"calm-{name}", rank, seen)
        world.close()


def killed(directory: Path, rank: int, name: str, attempt: int) -> None:
    """An attempt that one rank of it leaves by `kill -9`; after all that are due, one that ends."""
    chance = random.Random(f"{name} {attempt}")
    moment, victim = chance.randrange(6), chance.randrange(RANKS)
    acts = iter(range(2 * LONG))  # counted from where the attempt begins

    def act(step: int) -> None:
        if attempt <= MORE[name] and rank == victim and next(acts) == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    place = f"killed-{name}"
    world = open_world(directory, f"{place}-{attempt}", rank, RANKS)
    seen = run(CASES[name], directory, place, world, attempt=attempt, steps=LONG, saved=2, act=act)
    tell(directory, place, rank, seen)
    world.close()


def fewer(directory: Path, rank: int) -> None:
    """Two ranks go on with what three have saved half way."""
    for name in MORE:
        world = open_world(directory, f"fewer-{name}", rank, 2)
        seen = run(CASES[name], directory, f"fewer-{name}", world, attempt=2)
        tell(directory, f"fewer-{name}", rank, seen)
        world.close()


def open_world(directory: Path, name: str, rank: int, size: int) -> World:
    """Ranks meet at a file."""
    meeting = f"file://{directory / name}.rendezvous"
    return World(Ranks(rank, size), torch.device("cpu"), meeting)


def tell(directory: Path, name: str, rank: int, seen: dict[str, Any]) -> None:
    """For the test to read."""
    (directory / f"{name}-{rank}.json").write_text(json.dumps(seen), "utf-8")


def single(life: Callable[..., None], *given: Any) -> None:
    """Of the ranks that share two cores, each has one thread."""
    torch.set_num_threads(1)
    life(*given)


def fork(life: Callable[..., None], ranks: int, *given: Any) -> list[int]:
    """So many ranks; what each ended with. One that is killed takes the others along, as a supervisor does."""
    children = []
    for number in range(ranks):
        children.append(forked.fork(functools.partial(single, life, given[0], number, *given[1:])))
    codes: list[int] = []
    while len(codes) < len(children):
        pid, status = os.waitpid(-1, 0)
        children[children.index(pid)] = 0
        codes.append(os.waitstatus_to_exitcode(status))
        if codes[-1] == -signal.SIGKILL and codes.count(-signal.SIGKILL) == 1:
            for other in filter(None, children):
                os.kill(other, signal.SIGKILL)
    return codes


def main() -> int:
    directory = Path(sys.argv[1])
    ended = [*fork(every_case, RANKS, directory), *fork(undisturbed, RANKS, directory)]
    for name in MORE:
        shutil.copytree(directory / name, directory / f"fewer-{name}")
        shutil.rmtree(directory / f"fewer-{name}" / paths.CHECKPOINTS / f"step-{STEPS}.a1")
        for attempt in range(1, MORE[name] + 1):
            codes = fork(killed, RANKS, directory, name, attempt)
            (directory / f"kills-{name}-{attempt}.json").write_text(json.dumps(codes), "utf-8")
        ended += fork(killed, RANKS, directory, name, MORE[name] + 1)
    ended += fork(fewer, 2, directory)
    return max(map(abs, ended))


if __name__ == "__main__":
    sys.exit(main())
