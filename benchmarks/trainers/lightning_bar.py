"""Lightning with its text bar and its CSV logger."""

import os
import tempfile

import lightning
import planted
import torch
from lightning.pytorch.callbacks import TQDMProgressBar
from lightning.pytorch.loggers import CSVLogger


class Net(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def training_step(self, batch, index):
        loss = planted.mean_square(self.net(batch[0]), batch[1])
        self.log("train_loss", loss, prog_bar=True, on_step=True, on_epoch=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=5e-3)


folder = os.environ.get("SPEECHTRAIN_RUN_DIR", tempfile.mkdtemp())
trainer = lightning.Trainer(
    max_epochs=2,
    accelerator="cpu",
    logger=CSVLogger(folder),
    log_every_n_steps=1,
    enable_checkpointing=False,
    callbacks=[TQDMProgressBar()],
)
trainer.fit(Net(), planted.loader(planted.STEPS // 2))
