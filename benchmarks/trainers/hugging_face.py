"""Hugging Face Trainer; its NaN filter stays on, as people leave it."""

import tempfile

import planted
import torch
from transformers import Trainer, TrainingArguments


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def forward(self, x, y):
        return {"loss": planted.mean_square(self.net(x), y)}


data = [
    {"x": x, "y": y} for x, y in zip(*planted.tensors(planted.STEPS * planted.BATCH), strict=True)
]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder,
        max_steps=planted.STEPS,
        per_device_train_batch_size=planted.BATCH,
        learning_rate=5e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        remove_unused_columns=False,
    )
    Trainer(Net(), arguments, train_dataset=data).train()
