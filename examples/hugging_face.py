"""A Hugging Face Trainer of your own, watched by the supervisor; run through examples/hugging-face.yaml.

A tiny model of text and audio codes that starts from random weights: each sample is a reference voice (codes that
stay in one register), two words, and the same words in that voice. Nothing is downloaded. `--fault nan` poisons the
loss half-way: the Trainer's own log then says 0.0.

Needs accelerate beside transformers (4.46 or newer), as every Trainer does.
"""

from __future__ import annotations

import argparse
import os

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from speech_telemetry.huggingface import TelemetryCallback
from speech_trainer.strategic.callbacks import StrategicLoggingArguments

WORDS, VOICES, REGISTER = 16, 4, 16  # ids: words first, then a register of codes for each voice
VOCABULARY = WORDS + VOICES * REGISTER
IGNORED = -100


def sample(generator: torch.Generator) -> dict[str, torch.Tensor]:
    """Six codes of a voice, two words, and three codes for each word in that voice."""
    voice = int(torch.randint(VOICES, (1,), generator=generator))
    reference = WORDS + voice * REGISTER + torch.randint(REGISTER, (6,), generator=generator)
    words = torch.randint(WORDS, (2,), generator=generator)
    target = (WORDS + voice * REGISTER + words).repeat_interleave(3)
    ids = torch.cat([reference, words, target])
    return {"input_ids": ids, "labels": ids.where(torch.arange(len(ids)) >= 8, IGNORED)}


class Poison(TrainerCallback):
    """Makes the weights, and with them every further loss, NaN."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, model=None, **given) -> None:  # type: ignore[no-untyped-def]
        if state.global_step == self.step:
            torch.nn.init.constant_(model.lm_head.weight, float("nan"))


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--fault", choices=["none", "nan"], default="none")
    options, rest = parser.parse_known_args()
    strategic, rest = StrategicLoggingArguments.parse(rest)
    if rest:
        parser.error(f"unknown: {' '.join(rest)}")
    torch.manual_seed(0)
    torch.set_num_threads(1)  # a model this small gains nothing from more
    generator = torch.Generator().manual_seed(1)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=32, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    out = os.environ.get("SPEECHTRAIN_RUN_DIR", "out/hugging-face")
    arguments = TrainingArguments(
        os.path.join(out, "trainer"), max_steps=options.steps, per_device_train_batch_size=16,
        learning_rate=3e-3, lr_scheduler_type="cosine", eval_strategy="steps", eval_steps=100,
        save_strategy="steps", save_steps=100, save_total_limit=3, logging_steps=50, report_to=[], disable_tqdm=True,
    )  # fmt: skip
    telemetry = TelemetryCallback()
    callbacks: list[object] = [telemetry]
    callbacks += strategic.callbacks(audio_ids=range(WORDS, VOCABULARY))
    if options.fault == "nan":
        callbacks.append(Poison(options.steps // 2))
    Trainer(
        LlamaForCausalLM(config),
        arguments,
        train_dataset=[sample(generator) for _ in range(2000)],
        eval_dataset=[sample(generator) for _ in range(64)],
        callbacks=callbacks,  # type: ignore[arg-type]
    ).train(resume_from_checkpoint=telemetry.resume_from())  # None in the first attempt


if __name__ == "__main__":
    main()
