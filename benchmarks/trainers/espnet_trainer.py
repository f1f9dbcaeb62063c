"""ESPnet 2's Trainer with its Reporter, as `espnet2.bin.*_train` runs it."""

import logging
import os
import tempfile

import planted
import torch
from espnet2.iterators.abs_iter_factory import AbsIterFactory
from espnet2.train.abs_espnet_model import AbsESPnetModel
from espnet2.train.distributed_utils import DistributedOption
from espnet2.train.trainer import Trainer, TrainerOptions


class Net(AbsESPnetModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def collect_feats(self, **batch):
        return {}

    def forward(self, x, y, **batch):
        loss = planted.mean_square(self.net(x), y)
        weight = torch.tensor(float(len(x)))
        return loss[None], {"loss": loss.detach()[None]}, weight[None]


class Batches(AbsIterFactory):
    def build_iter(self, epoch, shuffle=None):
        return [
            ([f"u{n}" for n in range(len(x))], {"x": x, "y": y})
            for x, y in planted.loader(planted.STEPS // 2)
        ]


logging.basicConfig(
    level="INFO", format="[host] %(asctime)s (%(module)s:%(lineno)d) %(levelname)s: %(message)s"
)
net = Net()
options = TrainerOptions(
    ngpu=0, resume=False, use_amp=False, train_dtype="float32", grad_noise=False, accum_grad=1,
    grad_clip=5.0, grad_clip_type=2.0, log_interval=1, no_forward_run=False, use_matplotlib=False,
    use_tensorboard=False, use_wandb=False, adapter="lora", use_adapter=False, save_strategy="all",
    output_dir=tempfile.mkdtemp(dir=os.environ.get("SPEECHTRAIN_RUN_DIR")), max_epoch=2, seed=0,
    sharded_ddp=False, patience=None, keep_nbest_models=1, nbest_averaging_interval=0,
    early_stopping_criterion=("valid", "loss", "min"),
    best_model_criterion=[("train", "loss", "min")], val_scheduler_criterion=("valid", "loss"),
    unused_parameters=False, wandb_model_log_interval=-1, create_graph_in_tensorboard=False,
    gradient_as_bucket_view=False, ddp_comm_hook=None,
)  # fmt: skip
Trainer.run(
    model=net,
    optimizers=[torch.optim.Adam(net.parameters(), lr=5e-3)],
    schedulers=[None],
    train_iter_factory=Batches(),
    valid_iter_factory=Batches(),
    plot_attention_iter_factory=None,
    trainer_options=options,
    distributed_option=DistributedOption(),
)
