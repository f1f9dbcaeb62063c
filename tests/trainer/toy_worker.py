"""One rank of a toy run in a process of its own, for tests that need several ranks or a real death.

`python toy_worker.py gate|together|peers|main DIRECTORY`; ranks and rendezvous come from torch's environment. Every
rank writes what it saw to `DIRECTORY/<mode>-<rank>.json`.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import rank_faults
import torch
import toy

from speech_contract import env
from speech_contract.codec import to_document
from speech_contract.events import Event
from speech_contract.phases import Phase
from speech_contract.thresholds import OnExceeded, RankDivergence
from speech_trainer import __main__ as trainer
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.flags import LateFlags
from speech_trainer.engine.gate import Gate
from speech_trainer.engine.recipe import RecipeContext
from speech_trainer.engine.state import collect_tensors
from speech_trainer.errors import TrainerError

EVERYWHERE = toy.Faults(positions=((0, 1_000_000),))


def open_world() -> World:
    torch.set_num_threads(1)
    ranks = Ranks(int(os.environ[env.RANK]), int(os.environ[env.WORLD_SIZE]))
    return World(ranks, torch.device("cpu"))


# -- gate ------------------------------------------------------------------------------------------------------


def gate(directory: Path) -> dict[str, Any]:
    """Good steps, then one bad step of each kind, then a good one; what changed at each."""
    world = open_world()
    config = toy.make_config(directory, ranks_per_node=world.size)
    context = RecipeContext(config, world.device, world.rank, world.size, directory)
    torch.manual_seed(0)
    recipe = toy.ToyRecipe(context)
    built = recipe.build()
    judge = Gate(built, world.device, world.rank, world.size)
    built.models = {name: world.wrap(model) for name, model in built.models.items()}
    flags, step = LateFlags(), 0
    seen: dict[str, Any] = {}

    def take(name: str, faults: toy.Faults, hook: Any = None) -> None:
        nonlocal step
        step += 1
        recipe.faults = faults
        before = collect_tensors(built)
        judge.begin()
        handle = hook and hook()
        losses = recipe.train_step(built, recipe.stream.next_batch(), step).losses
        if handle:
            handle.remove()
        verdict = judge.judge(losses, step, interrupt=name == "interrupt" and world.rank == 1)
        judge.commit(verdict, lambda bad: recipe.after_update(built, step, bad))
        flags.push(step, (0, 0), verdict)
        (read,) = flags.take()
        after = collect_tensors(built)
        seen[name] = {
            "changed": [
                n for n in after if n not in before or not torch.equal(before[n], after[n])
            ],
            "bad": read.bad,
            "interrupt": read.interrupt,
            "component": read.component,
            "module": read.module,
            "rank": read.rank,
            "finite": all(bool(t.isfinite().all()) for t in after.values()),
        }

    def only(rank: int, faults: toy.Faults) -> toy.Faults:
        return faults if world.rank == rank else toy.Faults()

    def explode() -> Any:
        weight = built.optimizers["g"].modules["decoder"][2].weight
        return weight.register_hook(lambda gradient: gradient * float("inf"))

    for number in range(4):
        take(f"good {number}", toy.Faults())
    take("discriminator", toy.Faults(EVERYWHERE.positions, "d/total"))
    take("generator", toy.Faults(EVERYWHERE.positions, "g/adversarial"))
    take("rank 1", only(1, EVERYWHERE))
    take("gradient", toy.Faults(), explode)
    take("interrupt", toy.Faults())
    seen["names"] = sorted(collect_tensors(built))
    seen["weights"] = collect_tensors(built)["models/g/mapper.weight"].flatten().tolist()
    world.close()
    return seen


# -- whole runs on two ranks -----------------------------------------------------------------------------------


class TermedOnRank1(toy.ToyRecipe):
    """SIGTERM reaches rank 1 alone, in the middle of step 7."""

    def train_step(self, built: Any, batch: Any, step: int) -> Any:
        if step == 7 and self.context.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().train_step(built, batch, step)


def together(directory: Path) -> dict[str, Any]:
    """Undisturbed; interrupted and resumed; NaN in rank 1's batches only."""
    world = open_world()
    seen: dict[str, Any] = {}

    def run(name: str, folder: str, steps: int, **more: Any) -> toy.Toy:
        attempt = more.pop("attempt", 1)
        config = toy.make_config(
            directory / folder,
            attempt=attempt,
            ranks_per_node=world.size,
            training={"max_steps": steps},
        )
        one = toy.make(config, world=world, **more)
        code = one.run()
        last = one.said.last
        seen[name] = {
            "code": code,
            "steps": [d.step for d in one.said.datagrams if d.phase is Phase.TRAINING],
            "saved": last.last_checkpoint_step,
            "resumed": last.resumed_from_step,
            "rollbacks": last.rollbacks,
            "non_finite": last.non_finite_steps,
            "bad_component": last.bad_component,
            "updates": last.updates,
            "samples": last.samples_total,
            "losses": [d.losses for d in one.said.datagrams if d.losses][-1],
            "trained": one.recipe.stream.trained,
        }
        return one

    whole = run("whole", "whole", 12).tensors
    run("interrupted", "cut", 12, recipe=TermedOnRank1)
    resumed = run("resumed", "cut", 12, attempt=2).tensors
    seen["resumed"]["differs"] = [n for n in whole if not torch.equal(whole[n], resumed[n])]
    # Positions of steps 13..17, the odd ones: rank 1's.
    size = toy.BATCH * world.size
    bad = tuple((p, p + 1) for p in range(12 * size + 1, 17 * size, 2))
    run("rolled back", "nan", 24, faults=toy.Faults(positions=bad))
    world.close()
    return seen


# -- ranks that compare themselves -----------------------------------------------------------------------------


def peers(directory: Path) -> dict[str, Any]:
    """Sound runs with everything that may happen to them, then faults of the last rank."""
    world = open_world()
    seen: dict[str, Any] = {}

    def run(name: str, folder: str, wrap: Any = None, **more: Any) -> None:
        limits = RankDivergence(every_steps=more.pop("every", 2), **more.pop("limits", {}))
        steps = more.pop("steps", 24)
        config = toy.make_config(
            directory / folder,
            attempt=more.pop("attempt", 1),
            ranks_per_node=world.size,
            training={"max_steps": steps},
            health={"rank_divergence": limits},
        )
        one = toy.make(config, world=world, **more)
        if wrap is not None:
            one.engine.recipe = wrap(one.recipe)
        try:
            code = one.run()
        except TrainerError as error:
            code = error.exit_code
        told = [d.peers for d in one.said.datagrams if d.peers is not None]
        seen[name] = {
            "code": code,
            "peers": [to_document(p) for p in told],
            "saved": [n for n in one.said.steps_of(Event.CHECKPOINT_SAVED)],
            "disagree": one.said.steps_of(Event.RANKS_DISAGREE),
            "rollbacks": one.said.last.rollbacks,
            "resumed": one.said.last.resumed_from_step,
        }

    size = toy.BATCH * world.size
    bad = tuple((p, p + 1) for p in range(12 * size + 1, 17 * size, world.size))
    run("sound", "sound", every=1)
    run("rolled back", "nan", faults=toy.Faults(positions=bad))
    run("interrupted", "cut", recipe=TermedOnRank1)
    run("resumed", "cut", attempt=2)
    run("flipped", "flipped", rank_faults.flip_a_bit, every=4, steps=20)
    run("found at the save", "save", rank_faults.flip_a_bit, every=100, steps=20)
    warn = {"on_exceeded": OnExceeded.WARN}
    run("warned", "warned", rank_faults.flip_a_bit, every=4, steps=20, limits=warn)
    run("slow", "slow", rank_faults.slow, every=2, steps=10)
    run("loud", "loud", rank_faults.loud, every=2, steps=10)
    world.close()
    return seen


# -- the real entry point --------------------------------------------------------------------------------------


class KilledAt24(toy.ToyRecipe):
    """SIGKILL in the middle of step 24."""

    def train_step(self, built: Any, batch: Any, step: int) -> Any:
        if step == 24:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().train_step(built, batch, step)


def create(name: str, context: RecipeContext) -> toy.ToyRecipe:
    return toy.ToyRecipe(context)


def kill_at_24(recipe: toy.ToyRecipe) -> toy.ToyRecipe:
    """For SPEECHTRAIN_WRAP_RECIPE."""
    return KilledAt24(recipe.context)


def abort_at_exit(recipe: toy.ToyRecipe) -> toy.ToyRecipe:
    """For SPEECHTRAIN_WRAP_RECIPE: what a thread of gloo does now and then, at every end of the interpreter."""
    atexit.register(os.abort)
    return recipe


def main() -> int:
    mode, directory = sys.argv[1], Path(sys.argv[2])
    if mode == "main":
        return trainer.main([], create)
    seen = {"gate": gate, "together": together, "peers": peers}[mode](directory)
    (directory / f"{mode}-{os.environ[env.RANK]}.json").write_text(json.dumps(seen))
    return 0


if __name__ == "__main__":
    trainer.leave(main())
