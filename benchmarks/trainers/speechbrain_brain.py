"""SpeechBrain's Brain with its bar and its FileTrainLogger's line an epoch."""

import tempfile
from pathlib import Path

import planted
import speechbrain
import torch
from speechbrain.utils.train_logger import FileTrainLogger


class Net(speechbrain.Brain):
    def compute_forward(self, batch, stage):
        return self.modules.net(batch[0].to(self.device))

    def compute_objectives(self, predictions, batch, stage):
        return planted.mean_square(predictions, batch[1].to(self.device))

    def on_stage_end(self, stage, stage_loss, epoch=None):
        self.hparams.logger.log_stats({"epoch": epoch}, train_stats={"loss": stage_loss})


with tempfile.TemporaryDirectory() as folder:
    logger = FileTrainLogger(str(Path(folder) / "train_log.txt"))
    brain = Net(
        {"net": planted.net()},
        lambda parameters: torch.optim.Adam(parameters, lr=5e-3),
        hparams={"logger": logger},
        run_opts={"device": "cpu"},
    )
    brain.fit(range(2), planted.loader(planted.STEPS // 2))
