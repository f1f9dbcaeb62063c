#!/bin/sh
# coqui-tts-trainer 0.4.0: without gradient clipping, which is the default, `grad_norm` is printed all the same, as exactly
# 0.0 at every step, although the weights have gradients and move. Who reads the log sees a dead graph:
#   | > loss: 1.04  (1.04)
#   | > grad_norm: 0.0  (0.0)
packages="coqui-tts-trainer==0.4.0 torch==2.11.0 torchaudio==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import torch
from trainer import Trainer, TrainerArgs, TrainerConfig, TrainerModel

norms = []


class Probe(TrainerModel):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.net.weight.register_hook(lambda gradient: norms.append(gradient.norm().item()))

    def forward(self, x):
        return self.net(x)

    def train_step(self, batch, criterion):
        output = self.net(batch["x"])
        return {"model_outputs": output}, {"loss": criterion(output, torch.ones_like(output))}

    eval_step = train_step

    def get_criterion(self):
        return torch.nn.MSELoss()

    def get_data_loader(self, *inputs, **given):
        return [{"x": torch.randn(8, 4)} for _ in range(6)]

    def inference(self, x):
        return self.net(x)

    @staticmethod
    def init_from_config(config):
        return Probe()

    def load_checkpoint(self, *inputs, **given):
        raise NotImplementedError


config = TrainerConfig(
    optimizer="SGD", lr=0.01, epochs=1, print_step=1, plot_step=1000, run_eval=False, save_checkpoints=False,
    save_best_after=10000, save_step=10000, batch_size=8,
)
Trainer(TrainerArgs(), config, output_path="out", model=Probe()).fit()
print("real norms", min(norms), max(norms), "steps", len(norms))
PY
"$python" probe.py >said.txt 2>&1
grep "real norms" said.txt
zero=$(grep -c "> grad_norm: 0.0 " said.txt)
other=$(grep "> grad_norm:" said.txt | grep -vc "> grad_norm: 0.0 " || true)
echo "grad_norm lines with 0.0: $zero, with another value: $other"
[ "$zero" -ge 5 ] && [ "$other" -eq 0 ] && grep "real norms" said.txt | awk '{ exit !($3 > 0) }'
