"""Coqui's trainer with its console logger."""

import dataclasses
import os
import tempfile

import planted
import torch
from trainer import Trainer, TrainerArgs, TrainerConfig, TrainerModel


@dataclasses.dataclass
class Config(TrainerConfig):
    optimizer: str = "Adam"
    lr: float = 5e-3
    epochs: int = 2
    print_step: int = 1
    plot_step: int = 1000
    batch_size: int = planted.BATCH
    run_eval: bool = False
    save_checkpoints: bool = False
    save_best_after: int = 10_000
    save_step: int = 10_000
    dashboard_logger: str = "tensorboard"


class Net(TrainerModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def forward(self, *inputs, **given):
        return self.net(*inputs)

    def train_step(self, batch, criterion):
        output = self.net(batch["x"])
        return {"model_outputs": output}, {"loss": planted.mean_square(output, batch["y"])}

    def eval_step(self, batch, criterion):
        return self.train_step(batch, criterion)

    @staticmethod
    def init_from_config(config):
        return Net()

    def inference(self, *inputs, **given):
        return self.net(*inputs)

    def load_checkpoint(self, *inputs, **given):
        raise NotImplementedError

    def format_batch(self, batch):
        return {"x": batch[0], "y": batch[1]}

    def get_criterion(self):
        return torch.nn.MSELoss()

    def get_data_loader(self, *inputs, **given):
        return planted.loader(planted.STEPS // 2)


folder = tempfile.mkdtemp(dir=os.environ.get("SPEECHTRAIN_RUN_DIR"))
torch.set_num_threads(1)
Trainer(TrainerArgs(), Config(), output_path=folder, model=Net()).fit()
