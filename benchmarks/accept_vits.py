"""Whether VITS Debug learns to speak, and whether a correct run is left alone: `make accept-vits`.

    python benchmarks/accept_vits.py [--steps 1250] [--seeds 0 1] [--quiet-steps 300] [--quiet-seeds 0 1 2 3 4]

Synthesizes Telugu speech, trains through the command line's own controller, reads the held-out scores beside their
trivial baselines and compares the last checkpoint with the weights that training began with. Writes
results/vits.json. About twelve minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import record
import torch
from record import Row
from safetensors.torch import load_file

from speech_contract import codec, names, paths
from speech_contract.run_config import RunConfig
from speech_operator.cluster.local_state import JobFolder
from speech_operator.local_run import run_local
from speech_trainer import recipes
from speech_trainer.data.synthesize import SynthesisPlan, synthesize
from speech_trainer.engine.randomness import seed_all
from speech_trainer.engine.recipe import RecipeContext

DTW_BOUND = 0.90
LENGTH_BOUNDS = (0.9, 1.1)
SENTENCES, HELD_OUT = 144, 16  # as the quickstart
DISCRIMINATOR = "discriminator"


def main() -> int:
    """Measure, print, write."""
    options = _parse()
    record.be_quiet()
    before = record.machine()
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        plan = SynthesisPlan(
            languages=("te",), speakers=1, utterances=SENTENCES, validation=HELD_OUT, seed=0
        )
        synthesize(plan, place / "data")
        voices = [voice(place, seed, options.steps) for seed in options.seeds]
        quiet = [train(place, f"quiet-{seed}", seed, options.quiet_steps, held_out=False)
                 for seed in options.quiet_seeds]  # fmt: skip
    rows = [row for one in voices for row in voice_rows(one)]
    rows += [quiet_row(one) for one in quiet]
    record.show(rows)
    return 0 if record.write("vits", before, {"voices": voices, "quiet": quiet}, rows) else 1


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1250)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1])
    parser.add_argument("--quiet-steps", type=int, default=300)
    parser.add_argument("--quiet-seeds", type=int, nargs="*", default=[0, 1, 2, 3, 4])
    return parser.parse_args()


def train(place: Path, name: str, seed: int, steps: int, *, held_out: bool) -> dict[str, Any]:
    """One run of the recipe as it is; what its status says at the end."""
    data = {"train": {"manifest": str(place / "data/train.jsonl")}}
    if held_out:
        data["validation"] = {"manifest": str(place / "data/validation.jsonl")}
    job = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": {"name": name},
        "spec": {
            "recipe": {"vits": {"preset": "Debug"}},
            "data": data,
            "training": {"maxSteps": steps, "seed": seed, "device": "CPU"},
            "checkpoint": {"uri": name, "everySteps": steps},
        },
    }
    began = time.monotonic()
    code = asyncio.run(run_local(job, place / "job.yaml", place / "state"))
    found = JobFolder(place / "state", "default", name).read_job() or {}
    health = found["status"]["health"]
    failure = found["status"].get("failure", {}).get("message", "")
    print(f"{name}: exit code {code}, {time.monotonic() - began:.0f} s {failure}", flush=True)
    return {
        "seed": seed,
        "steps": steps,
        "exitCode": code,
        "state": found["status"]["state"],
        "verdict": health["verdict"],
        "findings": [f"{f['rule']}: {f['evidence']}" for f in health.get("findings", [])],
        "seconds": round(time.monotonic() - began, 1),
    }


def voice(place: Path, seed: int, steps: int) -> dict[str, Any]:
    """A run with held-out scores, and how far each module moved."""
    name = f"voice-{seed}"
    ended = train(place, name, seed, steps, held_out=True)
    if ended["exitCode"]:
        sys.exit(f"{name}: {ended}")
    result = json.loads((place / name / paths.RESULT).read_text(encoding="utf-8"))
    moved = dict(movements(place, name, seed))
    return {**ended, "scores": result["scores"], "baselines": result["baselines"], "moved": moved}


def movements(place: Path, name: str, seed: int) -> Iterator[tuple[str, float]]:
    """Module → ‖last - first‖ / ‖first‖ over its parameters."""
    text = JobFolder(place / "state", "default", name).run_config(1).read_text(encoding="utf-8")
    config = codec.loads(RunConfig, text)
    (last,) = (place / name / paths.CHECKPOINTS).glob(f"step-{config.training.max_steps}.a*")
    tensors = load_file(last / "state.safetensors")
    # As the engine does before it builds: these are the weights that training began with.
    seed_all(seed)
    context = RecipeContext(config, torch.device("cpu"), 0, 1, place / f"{name}-again")
    context.run_dir.mkdir()
    recipe = recipes.create(config.recipe.name, context)
    recipe.data().close()
    built = recipe.build()
    name_of = {
        id(parameter): f"models/{model_name}/{parameter_name}"
        for model_name, model in built.models.items()
        for parameter_name, parameter in model.named_parameters()
    }
    for plan in built.optimizers.values():
        for module_name, module in plan.modules.items():
            first = [p.detach().flatten() for p in module.parameters()]
            then = [tensors[name_of[id(p)]].flatten() for p in module.parameters()]
            before, after = torch.cat(first), torch.cat(then)
            yield module_name, round(float((after - before).norm() / before.norm()), 5)


def voice_rows(one: Mapping[str, Any]) -> list[Row]:
    """One voice beside its bounds and the trivial answers."""
    who = f"seed {one['seed']}, {one['steps']} steps"
    score, length = one["scores"]["dtw_mel"], one["scores"]["length_ratio"]
    low, high = LENGTH_BOUNDS
    rows = [
        Row(f"{who}: DTW-mel", f"{score:.3f}", f"≤ {DTW_BOUND:.2f}", score <= DTW_BOUND),
        Row(f"{who}: length ratio", f"{length:.3f}", f"{low} to {high}", low <= length <= high),
    ]
    for baseline, scores in one["baselines"].items():
        trivial = scores["dtw_mel"]
        rows.append(Row(f"{who}: {baseline}", f"{trivial:.3f}", "above the voice", score < trivial))
    for module, share in one["moved"].items():
        must = module != DISCRIMINATOR  # it may start later than the run ends
        rows.append(
            Row(f"{who}: {module} moved", f"{share:.2%}", "> 0" * must, share > 0 if must else None)
        )
    return [*rows, quiet_row(one)]


def quiet_row(one: Mapping[str, Any]) -> Row:
    """A correct recipe raises nothing."""
    found = "; ".join(one["findings"]) or f"none, {one['verdict']}, {one['seconds']:.0f} s"
    who = f"seed {one['seed']}, {one['steps']} steps: findings"
    return Row(who, found, "none", not one["findings"] and one["exitCode"] == 0)


if __name__ == "__main__":
    sys.exit(main())
