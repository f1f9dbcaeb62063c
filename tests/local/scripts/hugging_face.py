"""A stock Hugging Face Trainer with nothing of ours in it, whose loss goes NaN at step 11.

Default logging filters NaN out of the loss, so it prints {'loss': '0', 'grad_norm': 'nan', ...}.
argv: output directory.
"""

import sys

import torch
from torch import nn
from transformers import Trainer, TrainingArguments


class Model(nn.Module):
    """One layer; poisons its loss once it has seen ten batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)
        self.batches = 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.batches += 1
        loss = (self.layer(x).squeeze(1) - labels).square().mean()
        return {"loss": loss * float("nan") if self.batches > 10 else loss}


generator = torch.Generator().manual_seed(0)
data = [{"x": torch.randn(4, generator=generator), "labels": torch.tensor(1.0)} for _ in range(240)]
arguments = TrainingArguments(
    sys.argv[1], max_steps=60, per_device_train_batch_size=4, logging_steps=1, report_to=[],
    save_strategy="no", use_cpu=True, dataloader_pin_memory=False,
)  # fmt: skip
Trainer(Model(), arguments, train_dataset=data).train()
