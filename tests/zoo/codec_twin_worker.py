"""One rank of two small codecs in a process of its own: `python codec_twin_worker.py MODE DIRECTORY` (holds a voice).

Takes the correct recipe and the twin whose ranks keep their own codebooks through the preflight, and the twin through a
few steps without; writes what came of each to `DIRECTORY/MODE-<rank>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import small_codec
import torch
from twins import codec_books

from speech_contract import codec, env
from speech_trainer import __main__ as trainer
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.errors import TrainerError


def take(
    name: str, wrap: Callable[[Any], Any], directory: Path, world: World, *, checked: bool
) -> dict[str, Any]:
    """One run: why it ended, and what the ranks found when they compared themselves."""
    config = small_codec.config_of(
        directory / name, directory / "voice", ranks_per_node=world.size,
        training={"max_steps": 6, "global_batch_size": 4}, checkpoint={"every_steps": 5},
    )  # fmt: skip
    run, error = small_codec.make(config, world=world, checked=checked, wrap=wrap), ""
    try:
        run.engine.run()
    except TrainerError as raised:
        error = str(raised)
    peers = [codec.to_document(d.peers) for d in run.said.datagrams if d.peers is not None]
    return {"error": error, "step": run.engine.counters.step, "peers": peers}


def main(mode: str, directory: Path) -> None:
    torch.set_num_threads(1)
    world = World(
        Ranks(int(os.environ[env.RANK]), int(os.environ[env.WORLD_SIZE])), torch.device("cpu")
    )
    small_codec.settle()
    broken = codec_books.each_rank_its_own_books
    seen = {
        "correct": take("correct", lambda recipe: recipe, directory, world, checked=True),
        "checked": take("checked", broken, directory, world, checked=True),
        "unchecked": take("unchecked", broken, directory, world, checked=False),
    }
    (directory / f"{mode}-{world.rank}.json").write_text(json.dumps(seen), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
    trainer.leave(0)
