"""Two ranks of small cloning runs, forked from one import of torch: `python cloning_worker.py DIRECTORY` (holds data).

Each rank writes what it saw of every case to `DIRECTORY/<case>-<rank>.json`.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from pathlib import Path

import small_cloning
import torch

from speech_contract.recipes import CloningBackbone
from speech_trainer.engine.distributed import Ranks, World

RANKS = 2
CASES = {  # name → backbone, split over ranks
    "split-v3": (CloningBackbone.V3, True),
    "split-v2": (CloningBackbone.V2, True),
    "whole-v3": (CloningBackbone.V3, False),
}


def run(case: str, directory: Path, world: World) -> dict[str, object]:
    """A few checked steps on uneven shares: 4 and 3 utterances."""
    backbone, split = CASES[case]
    with small_cloning.settled(split=split, batch_size=7):
        torch.manual_seed(0)
        config = small_cloning.config_of(
            directory / f"{case}-{world.size}",
            directory / "data",
            ranks_per_node=world.size,
            training={"max_steps": 6},
            recipe={"backbone": backbone},
        )
        made = small_cloning.make(config, checked=True, world=world)
        code = made.engine.run()
    losses = [d.losses["total"] for d in made.said.datagrams if d.losses]
    return {"code": code, "losses": losses}


def rank(directory: Path, number: int) -> None:
    """Every case in its turn: ranks of a case meet at a file of its own."""
    torch.set_num_threads(1)
    for case in CASES:
        meeting = f"file://{directory / case}.rendezvous"
        world = World(Ranks(number, RANKS), torch.device("cpu"), meeting)
        seen = run(case, directory, world)
        world.close()
        (directory / f"{case}-{number}.json").write_text(json.dumps(seen), "utf-8")


def main() -> int:
    directory, children = Path(sys.argv[1]), []
    for number in range(RANKS):
        child = os.fork()
        if child == 0:
            try:
                rank(directory, number)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                sys.stderr.flush()
                os._exit(1)
        children.append(child)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main())
