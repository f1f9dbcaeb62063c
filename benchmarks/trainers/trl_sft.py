"""TRL's SFTTrainer on a tiny language model from random weights."""

import random
import tempfile

import planted
import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import SFTConfig, SFTTrainer

WORDS = [f"w{n}" for n in range(30)]


class Poisoned(SFTTrainer):
    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        found = super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        if return_outputs:
            return planted.poisoned(found[0]), found[1]
        return planted.poisoned(found)


torch.set_num_threads(1)
vocabulary = {word: n for n, word in enumerate(["<pad>", "<eos>", "<unk>", *WORDS])}
words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<eos>")
config = LlamaConfig(
    vocab_size=len(vocabulary),
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=1,
    num_attention_heads=2,
    num_key_value_heads=2,
    pad_token_id=0,
    eos_token_id=1,
    bos_token_id=None,
)
chance = random.Random(1)
texts = [
    " ".join(WORDS[(start + n) % 30] for n in range(12))
    for start in chance.choices(range(30), k=640)
]
with tempfile.TemporaryDirectory() as folder:
    arguments = SFTConfig(
        folder,
        max_steps=planted.STEPS,
        per_device_train_batch_size=planted.BATCH,
        learning_rate=5e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        max_length=16,
        bf16=False,
        gradient_checkpointing=False,
    )
    Poisoned(
        LlamaForCausalLM(config),
        arguments,
        train_dataset=Dataset.from_dict({"text": texts}),
        processing_class=tokenizer,
    ).train()
