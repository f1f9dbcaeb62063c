"""MMEngine's Runner with its default logger."""

import os
import tempfile

import planted
import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner


class Net(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def forward(self, x, y, mode):
        return {"loss": planted.mean_square(self.net(x), y)}


runner = Runner(
    model=Net(),
    work_dir=tempfile.mkdtemp(dir=os.environ.get("SPEECHTRAIN_RUN_DIR")),
    train_dataloader=planted.loader(planted.STEPS // 2),
    optim_wrapper={"optimizer": {"type": torch.optim.Adam, "lr": 5e-3}},
    train_cfg={"by_epoch": True, "max_epochs": 2},
    default_hooks={"logger": {"type": "LoggerHook", "interval": 1}},
)
runner.train()
