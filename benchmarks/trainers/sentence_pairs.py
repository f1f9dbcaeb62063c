"""Sentence Transformers' trainer on a bag of words."""

import random
import tempfile

import planted
import torch
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.losses import CosineSimilarityLoss
from sentence_transformers.models import BoW, Dense

WORDS = [f"word{n}" for n in range(40)]


class Loss(CosineSimilarityLoss):
    def forward(self, *inputs, **given):
        return planted.poisoned(super().forward(*inputs, **given))


torch.manual_seed(0)
torch.set_num_threads(1)
chance = random.Random(1)
bag = BoW(vocab=WORDS)
model = SentenceTransformer(modules=[bag, Dense(len(WORDS), 16)], device="cpu")
pairs = [(chance.choice(WORDS), chance.choice(WORDS)) for _ in range(planted.STEPS * planted.BATCH)]
data = Dataset.from_dict(
    {
        "first": [a for a, _ in pairs],
        "second": [b for _, b in pairs],
        "score": [float(hash(a) % 2 == hash(b) % 2) for a, b in pairs],
    }
)
with tempfile.TemporaryDirectory() as folder:
    arguments = SentenceTransformerTrainingArguments(
        folder,
        max_steps=planted.STEPS,
        per_device_train_batch_size=planted.BATCH,
        learning_rate=5e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
    )
    SentenceTransformerTrainer(model, arguments, train_dataset=data, loss=Loss(model)).train()
