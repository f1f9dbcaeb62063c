"""A stock Hugging Face Trainer whose loss turns NaN after some steps; default logging, no call into us."""

import torch
from transformers import Trainer, TrainingArguments


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(4, 1)
        self.calls = 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.calls += 1
        loss = (self.linear(x) - labels).square().mean()
        return {"loss": loss * (float("nan") if self.calls > 10 else 1.0)}


data = [{"x": torch.randn(4), "labels": torch.randn(1)} for _ in range(64)]
arguments = TrainingArguments(
    output_dir="out",
    logging_steps=1,
    max_steps=3000,
    use_cpu=True,
    report_to=[],
    save_strategy="no",
    per_device_train_batch_size=4,
)
Trainer(model=Model(), args=arguments, train_dataset=data).train()
