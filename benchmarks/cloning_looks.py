"""What the strategic log and free speech of the recipe `voiceCloning` cost beside its steps, preset Debug, on this CPU.

Codes are drawn at random at 25 frames a second: cost depends on lengths alone. Prints CPU seconds of a step, of each
section, of free speech at an evaluation, and the sections' share of every hundred steps. Needs a minute.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "trainer"))

import small_cloning

from speech_contract import codec
from speech_contract.recipes import CloningBackbone
from speech_trainer.data.codes import METADATA, CodecFacts, CodesReference, digest_of
from speech_trainer.data.words import WORDS
from speech_trainer.recipes.voice_cloning import parts, sections
from speech_trainer.recipes.voice_cloning.recipe import VoiceCloning

CODEC = CodecFacts("dac", "d", codebooks=8, codebook_size=1024, sample_rate=24000, hop=960)
STEPS, LOOKS, EVERY = 12, 5, 100
BOUND = 0.01


def write_set(folder: Path, name: str, count: int) -> None:
    """Sentences of 2 to 4 s by two voices, each with another as its reference."""
    chance, stored, lines = random.Random(name), {}, []
    for number in range(count):
        frames = chance.randint(50, 100)
        stored[str(number)] = codes = torch.randint(0, 1024, (8, frames))
        place = CodesReference(f"{name}.codes", str(number), frames, digest_of(codes))
        lines.append(
            {
                "audio_filepath": f"{number}.wav",
                "duration": frames / CODEC.frame_rate,
                "text": " ".join(chance.sample(WORDS["en"], 6)),
                "speaker": str(number % 2),
                "codes": codec.to_document(place),
                "ref_audio": f"{(number + 2) % count}.wav",
            }
        )
    save_file(stored, folder / f"{name}.codes", {METADATA: codec.dumps(CODEC)})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / f"{name}.jsonl").write_text(text, "utf-8")


def timed(act: Callable[[], Any], times: int) -> float:
    """Median CPU seconds, the first call left out."""
    act()
    found = []
    for _ in range(times):
        began = time.process_time()
        act()
        found.append(time.process_time() - began)
    return median(found)


def measure(recipe: VoiceCloning) -> dict[str, float]:
    """Seconds by name."""
    built, stream = recipe.build(), recipe.data()
    batch = stream.next_batch()
    stream.close()
    cloner, material = parts.cloner_of(built), recipe.material
    (plan,) = built.optimizers.values()

    def step() -> None:
        recipe.train_step(built, batch, 1)
        plan.optimizer.step()
        plan.optimizer.zero_grad()

    recipe._probes  # noqa: B018 - reads its recordings once a run, which is no look
    with tempfile.TemporaryDirectory() as folder:
        return {
            "step": timed(step, STEPS),
            "Input": timed(lambda: sections.describe_input(material, batch, 2), LOOKS),
            "Output": timed(lambda: sections.describe_output(material, cloner, batch), LOOKS),
            "Shared attention": timed(lambda: recipe._probes.attention(cloner.backbone), LOOKS),
            "Zero-shot verification": timed(
                lambda: recipe._probes.reference(cloner, recipe.context.device), LOOKS
            ),
            "free speech, an evaluation": timed(
                lambda: recipe._speaker(cloner.backbone, Path(folder)), 1
            ),
        }


def main() -> int:
    """Print both backbones; 1 when the sections cost more than their bound."""
    torch.set_num_threads(1)
    worst = 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_set(folder, "train", 64)
        write_set(folder, "validation", 16)
        for backbone in CloningBackbone:
            recipe = small_cloning.recipe_of(folder / "run", folder, recipe={"backbone": backbone})
            found = measure(recipe)
            looks = sum(
                v for k, v in found.items() if k not in ("step", "free speech, an evaluation")
            )
            worst = max(worst, share := looks / (EVERY * found["step"]))
            for what, seconds in found.items():
                print(f"{backbone.value}  {what:<28}{seconds:8.3f} s")
            print(
                f"{backbone.value}  sections, of {EVERY} steps         {share:8.2%}, bound {BOUND:.0%}"
            )
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
