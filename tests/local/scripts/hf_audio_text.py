"""A Hugging Face Trainer on a tiny, randomly initialised model of text and audio codes, with faults on request.

Text ids are 0 to 39, audio codes 40 to 63; each sample is a reference (audio, no target), text, and a target.
Runs with the oldest and the newest supported transformers. Ours come in by flags, so that the stock script can be
run without any of it: --telemetry, and the strategic loggers' own flags. `++` parts several runs of one process.
"""

import argparse
import itertools
import json
import sys
from pathlib import Path

import numpy as np
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers
from torch import nn
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    default_data_collator,
)

WORDS, CODES, BOS, EOS = 40, 24, 1, 2


def strict_tokenizer() -> PreTrainedTokenizerFast:
    """Knows the text ids alone, and ends the run when it is asked for another."""
    vocabulary = {f"w{i}": i for i in range(3, WORDS)} | {"<pad>": 0, "<s>": BOS, "</s>": EOS}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token="<s>", eos_token="</s>", pad_token="<pad>"
    )
    decode = tokenizer.decode

    def watched(ids, *arguments, **named):
        if any(not 0 <= i < WORDS for i in ids):
            sys.exit(f"the text tokenizer was given {ids}")
        return decode(ids, *arguments, **named)

    tokenizer.decode = watched
    return tokenizer


SHUFFLED = 42  # TrainingArguments.seed: what the Trainer's first epoch is shuffled by
POISON_AT = 7  # place of the first word


def poisoned(data: list[dict[str, torch.Tensor]], position: int) -> None:
    """Mark the sample that the first epoch draws at `position`."""
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(SHUFFLED))
    data[int(order[position])]["input_ids"][POISON_AT] = 0


def samples(count: int) -> list[dict[str, torch.Tensor]]:
    """Reference of 6 codes, 4 words, target of 6 codes that repeats the reference, end."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(count):
        codes = torch.randint(WORDS, WORDS + CODES, (6,), generator=generator)
        words = torch.randint(3, WORDS, (4,), generator=generator)
        ids = torch.cat([torch.tensor([BOS]), codes, words, codes, torch.tensor([EOS])])
        labels = ids.clone()
        labels[:11] = -100
        found.append({"input_ids": ids, "labels": labels})
    return found


class Poisoned(LlamaForCausalLM):
    """Its loss turns NaN once it has seen so many batches, or with a marked sample."""

    healthy_batches = 10**9
    seen = 0

    def forward(self, *arguments, **named):
        output = super().forward(*arguments, **named)
        if self.training:
            self.seen += 1
        marked = self.training and bool((named["input_ids"][:, POISON_AT] == 0).any())
        if (marked or self.seen > self.healthy_batches) and output.loss is not None:
            output.loss = output.loss * float("nan")
        return output


class NoReference(LlamaForCausalLM):
    """Deaf to the reference: the first seven positions are hidden from it."""

    def forward(self, input_ids=None, attention_mask=None, **named):
        deaf = torch.ones_like(input_ids)
        deaf[:, 1:7] = 0
        return super().forward(input_ids=input_ids, attention_mask=deaf, **named)


class Recorder:
    """Stands in for the reporter: every report as a line of a file."""

    dropped, rank, connected = 0, 0, True

    def __init__(self, path: str) -> None:
        self.path = path

    def send(self, datagram) -> None:
        from speech_contract import codec

        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(codec.dumps(datagram) + "\n")

    def stamp(self, step, phase) -> None:
        if self.dropped:
            sys.exit("the callback dropped a report")


class Remember(transformers.TrainerCallback):
    """What the host's own log says, for comparison."""

    def __init__(self, path: str) -> None:
        self.path = path

    def on_log(self, args, state, control, logs=None, **named):
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(json.dumps({"step": state.global_step, **logs}) + "\n")


def options(words: list[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--logging-steps", type=int, default=1)
    parser.add_argument("--nan-after", type=int, default=10**9, metavar="BATCHES")
    parser.add_argument("--max-grad-norm", type=float, default=1.0)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--poison", type=int, metavar="POSITION")
    parser.add_argument("--save-steps", type=int)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--evaluate", action="store_true")
    parser.add_argument("--deaf", action="store_true")
    parser.add_argument("--telemetry", action="store_true")
    parser.add_argument("--host-log")
    parser.add_argument("--record")
    return parser.parse_known_args(words)


def run(words: list[str]) -> None:
    chosen, rest = options(words)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    callbacks = [Remember(chosen.host_log)] if chosen.host_log else []
    if chosen.telemetry or chosen.record:
        from speech_telemetry import huggingface

        print("callback from", huggingface.__file__)
        recorder = Recorder(chosen.record) if chosen.record else None
        callbacks.append(huggingface.TelemetryCallback(recorder))
    if rest:
        from speech_trainer.strategic.callbacks import StrategicLoggingArguments

        flags, rest = StrategicLoggingArguments.parse(rest)
        callbacks += flags.callbacks(audio_ids=range(WORDS, WORDS + CODES))
    config = LlamaConfig(
        vocab_size=WORDS + CODES, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, max_position_embeddings=64, bos_token_id=BOS,
        eos_token_id=EOS, pad_token_id=0,
    )  # fmt: skip
    model: nn.Module = (NoReference if chosen.deaf else Poisoned)(config)
    if not chosen.deaf:
        model.healthy_batches = chosen.nan_after
    if chosen.resume or chosen.save_steps:
        # As docs/foreign-trainers.md says, for the oldest version.
        array = [np._core.multiarray._reconstruct, np.ndarray, np.dtype, np.dtypes.UInt32DType]
        torch.serialization.add_safe_globals(array)
    strategy = "steps" if chosen.evaluate else "no"
    saved = "steps" if chosen.save_steps else strategy
    data = samples(64)
    if chosen.poison is not None:
        poisoned(data, chosen.poison)
    arguments = TrainingArguments(
        chosen.out, max_steps=chosen.steps, per_device_train_batch_size=4,
        learning_rate=chosen.learning_rate, logging_steps=chosen.logging_steps,
        max_grad_norm=chosen.max_grad_norm, report_to=[],
        gradient_accumulation_steps=chosen.accumulate, eval_strategy=strategy, eval_steps=5,
        save_strategy=saved, save_steps=chosen.save_steps or 5, use_cpu=True, dataloader_pin_memory=False,
        remove_unused_columns=False, label_names=["labels"],
    )  # fmt: skip
    Trainer(
        model, arguments, train_dataset=data, eval_dataset=samples(8), callbacks=callbacks,
        processing_class=strict_tokenizer(), data_collator=default_data_collator,
    ).train(resume_from_checkpoint=chosen.resume or _saved_before(chosen) or None)  # fmt: skip


def _saved_before(chosen: argparse.Namespace) -> bool:
    """As many scripts decide it: the newest folder, if there is one."""
    return chosen.save_steps is not None and any(Path(chosen.out).glob("checkpoint-*"))


if __name__ == "__main__":
    print("transformers", transformers.__version__)
    for separated, part in itertools.groupby(sys.argv[1:], lambda word: word == "++"):
        if not separated:
            run(list(part))
