"""One rank of a small codec run in a process of its own: `python codec_worker.py codec DIRECTORY` (holds a voice).

Writes a digest of all that was trained, by kind, to `DIRECTORY/codec-<rank>.json`.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

import small_codec
import torch

from speech_contract import env
from speech_trainer import __main__ as trainer
from speech_trainer.engine.distributed import Ranks, World
from speech_trainer.engine.state import collect_tensors


def digests(built: object) -> dict[str, str]:
    """Kind of tensor (staged, models, …) → what they hold."""
    found: dict[str, hashlib._Hash] = {}
    for name, tensor in sorted(collect_tensors(built).items()):  # type: ignore[arg-type]
        data = tensor.detach().contiguous().numpy().tobytes()
        found.setdefault(name.partition("/")[0], hashlib.sha256()).update(name.encode() + data)
    return {kind: digest.hexdigest() for kind, digest in found.items()}


def main() -> int:
    directory = Path(sys.argv[2])
    torch.set_num_threads(1)
    ranks = Ranks(int(os.environ[env.RANK]), int(os.environ[env.WORLD_SIZE]))
    world = World(ranks, torch.device("cpu"))
    small_codec.settle(batch_size=5)  # 3 and 2: uneven
    config = small_codec.config_of(
        directory / "run", directory / "voice", ranks_per_node=world.size,
        training={"max_steps": 14},
    )  # fmt: skip
    run = small_codec.make(config, world=world, nan_steps=(7,) if world.rank == 1 else ())
    code = run.engine.run()
    seen = {
        "code": code,
        "digests": digests(run.engine.built),
        "non_finite": run.said.last.non_finite_steps,
        "updates": run.said.last.updates,
    }
    (directory / f"codec-{world.rank}.json").write_text(json.dumps(seen))
    return 0


if __name__ == "__main__":
    trainer.leave(main())
