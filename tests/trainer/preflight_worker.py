"""One rank of a VITS preflight in a process of its own: `python preflight_worker.py TWIN DIRECTORY VOICE`.

TWIN `good` is the working recipe. Every rank writes what came of it to `DIRECTORY/<TWIN>-<rank>.json`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch
from preflights import make_config, sit
from twins.catalogue import VITS

from speech_contract import env
from speech_trainer.engine.distributed import Ranks, World


def main(name: str, directory: Path, voice: Path) -> None:
    torch.set_num_threads(1)
    ranks = Ranks(int(os.environ[env.RANK]), int(os.environ[env.WORLD_SIZE]))
    world = World(ranks, torch.device("cpu"))
    twins = {twin.wrap.__name__: twin.wrap for twin in VITS}
    config = make_config(directory / "run", voice, ranks_per_node=world.size)
    desk = sit(config, twins.get(name, lambda recipe: recipe), world=world)
    message = desk.run()
    report = desk.said.last.preflight
    assert report is not None
    seen = {"message": message, "verdict": report.verdict.value, "shown": "".join(desk.shown)}
    (directory / f"{name}-{world.rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    if not message:
        world.close()
    os._exit(0)  # a peer that waits for this rank is ended by the test, as a supervisor would


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
