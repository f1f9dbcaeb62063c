#!/bin/sh
# espnet 202511, espnet2.train.trainer: an epoch whose every gradient is NaN ends the training with a warning, no exception
# and exit code 0, as a run that has learned does. And the averages of an epoch are nanmeans: where 3 of 6 losses were NaN
# the epoch's result shows the finite mean of the others.
packages="espnet==202511 torch==2.11.0 torchaudio==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import logging

import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer, TrainerOptions


class Probe(AbsESPnetModel):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)
        self.steps = 0

    def collect_feats(self, **batch):
        return {}

    def forward(self, x, **batch):
        self.steps += self.training
        loss = self.net(x).square().mean() * (float("nan") if self.steps > 3 else 1.0)
        return loss[None], {"loss": loss.detach()[None]}, torch.tensor([2.0])


class Batches(AbsIterFactory):
    def build_iter(self, epoch, shuffle=None):
        return [(["a", "b"], {"x": torch.ones(2, 4)}) for _ in range(6)]


logging.basicConfig(level="INFO", format="%(levelname)s: %(message)s")
net = Probe()
options = TrainerOptions(
    ngpu=0, resume=False, use_amp=False, train_dtype="float32", grad_noise=False, accum_grad=1, grad_clip=5.0,
    grad_clip_type=2.0, log_interval=1, no_forward_run=False, use_matplotlib=False, use_tensorboard=False,
    use_wandb=False, adapter="lora", use_adapter=False, save_strategy="all", output_dir="out", max_epoch=9, seed=0,
    sharded_ddp=False, patience=None, keep_nbest_models=1, nbest_averaging_interval=0,
    early_stopping_criterion=("valid", "loss", "min"), best_model_criterion=[("train", "loss", "min")],
    val_scheduler_criterion=("valid", "loss"), unused_parameters=False, wandb_model_log_interval=-1,
    create_graph_in_tensorboard=False, gradient_as_bucket_view=False, ddp_comm_hook=None,
)
Trainer.run(
    model=net, optimizers=[torch.optim.SGD(net.parameters(), lr=0.01)], schedulers=[None],
    train_iter_factory=Batches(), valid_iter_factory=Batches(), plot_attention_iter_factory=None,
    trainer_options=options, distributed_option=DistributedOption(),
)
PY
"$python" probe.py >said.txt 2>&1 && code=0 || code=$?
grep "gradients at all steps are invalid" said.txt
grep -o "1epoch results: \[train\].*loss=[^,]*" said.txt | grep -o "loss=[^,]*$"
echo "exit code: $code"
[ "$code" -eq 0 ] && grep -Eq "1epoch results: \[train\].* loss=[0-9]" said.txt
