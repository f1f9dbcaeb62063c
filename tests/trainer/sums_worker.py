"""One of three ranks that train the same global batch cut in every way: in 1, 2 and 3 ranks, in micro-batches.

`python forked.py ENDED 3 sums_worker.py sums DIRECTORY PORT PORT PORT`; a rank beyond the world of the moment waits for
its turn. Rank r writes what it saw to `DIRECTORY/sums-<r>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import sums
import torch
import toy

from speech_contract import env
from speech_trainer import __main__ as trainer
from speech_trainer.engine.distributed import Ranks, World

STEPS = 4
WHOLE = [(1, size, None, per_token) for size in (12, 10) for per_token in (False, True)]
CUTS = [
    (world, size, micro, per_token)
    for world in (1, 2, 3)
    for size, micro, per_token in (
        (12, None, False),
        (12, 1, False),
        (12, 5, True),
        (10, None, False),
        (10, 2, True),
    )
]


def name_of(world: int, size: int, micro: int | None, per_token: bool) -> str:
    return f"{world} ranks, {size} in {micro}, {'tokens' if per_token else 'samples'}"


def main() -> int:
    directory, ports = Path(sys.argv[2]), [int(port) for port in sys.argv[3:]]
    rank = int(os.environ[env.RANK])
    torch.set_num_threads(1)
    seen: dict[str, Any] = {}
    for count, port in enumerate(ports, start=1):
        if rank >= count:
            continue
        address = f"tcp://127.0.0.1:{port}"
        world = World(Ranks(rank, count), torch.device("cpu"), address)
        for cut in dict.fromkeys([*WHOLE, *CUTS]):
            if cut[0] == count:
                seen[name_of(*cut)] = run(directory, world, cut, None)
        seen[f"bad on {count}"] = run(directory, world, (count, 12, 2, False), bad=2 * 12 + 9)
        world.close()
    (directory / f"sums-{rank}.json").write_text(json.dumps(seen))
    return 0


def run(directory: Path, world: World, cut: tuple[Any, ...], bad: int | None) -> dict[str, Any]:
    count, size, micro, per_token = cut
    config = toy.make_config(
        directory / f"{count}-{size}-{micro}-{per_token}-{bad}",
        ranks_per_node=count,
        training={"max_steps": STEPS, "micro_batch_size": micro},
        checkpoint={"every_steps": 100},
    )
    engine, said, tensors = sums.train(config, size, world, per_token=per_token, bad=bad)
    training = [d for d in said.datagrams if d.losses]
    return {
        "tensors": tensors,
        "losses": [d.losses["total"] for d in training if d.losses],
        "perplexity": [d.codebooks["q0"].perplexity for d in training if d.codebooks],
        "size": [d.codebooks["q0"].size for d in training if d.codebooks],
        "updates": said.last.updates,
        "non_finite": said.last.non_finite_steps,
        "samples": said.last.samples_total,
        "tokens": said.last.tokens_total,
        "micro": engine.stream.micro_batches,
    }


if __name__ == "__main__":
    trainer.leave(main())
