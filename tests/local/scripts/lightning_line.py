"""A Lightning Trainer that fits a line, with faults on request. `++` parts several runs of one process."""

import argparse
import itertools
import json
import sys

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset


class Line(pl.LightningModule):
    """y = 3x + 1; the training step returns the loss and one part of it."""

    def __init__(self, chosen):
        super().__init__()
        self.chosen = chosen
        self.body = torch.nn.Linear(1, 1)
        self.said = []  # the losses as they are
        self.automatic_optimization = not chosen.manual

    def training_step(self, batch, index):
        x, y = batch
        loss = torch.nn.functional.mse_loss(self.body(x), y)
        if self.chosen.nan_after is not None and self.global_step >= self.chosen.nan_after:
            loss = loss * float("nan")
        self.said.append(float(loss))
        self.log("train_loss", loss)
        if self.chosen.skip:
            return None
        if self.chosen.manual:
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()
            return None
        return {"loss": loss, "bias_loss": self.body.bias.detach().sum(), "size": torch.tensor(8)}

    def on_before_optimizer_step(self, optimizer):
        self.norm = float(
            torch.nn.utils.get_total_norm([p.grad for p in self.parameters() if p.grad is not None])
        )
        NORMS.append(self.norm)

    def validation_step(self, batch, index):
        x, y = batch
        self.log("val_loss", torch.nn.functional.mse_loss(self.body(x), y))

    def configure_optimizers(self):
        optimizer = torch.optim.Adam(self.parameters(), lr=self.chosen.learning_rate)
        if self.chosen.epochs is None:
            schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda k: 1.0 / (1 + k))
            return [optimizer], [{"scheduler": schedule, "interval": "step"}]
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]


NORMS: list[float] = []


class Recorder:
    """Stands in for the reporter: every report as a line of a file."""

    dropped, rank, connected = 0, 0, True

    def __init__(self, path):
        self.path = path

    def send(self, datagram):
        from speech_contract import codec

        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write(codec.dumps(datagram) + "\n")

    def stamp(self, step, phase):
        if self.dropped:
            sys.exit("the callback dropped a report")


def options(words):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int, default=-1)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--nan-after", type=int, metavar="STEPS")
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--clip", type=float)
    parser.add_argument("--manual", action="store_true")
    parser.add_argument("--skip", action="store_true")
    parser.add_argument("--resume")
    parser.add_argument("--record")
    return parser.parse_args(words)


def data(count):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(count, 1, generator=generator)
    return DataLoader(
        TensorDataset(x, 3 * x + 1 + 0.05 * torch.randn(count, 1, generator=generator)),
        batch_size=8,
    )


def run(words):
    from speech_telemetry import lightning

    chosen = options(words)
    NORMS.clear()
    pl.seed_everything(0, verbose=False)
    callback = lightning.TelemetryCallback(Recorder(chosen.record) if chosen.record else None)
    assert isinstance(callback, pl.Callback)
    best = pl.callbacks.ModelCheckpoint(
        dirpath=chosen.out, monitor="val_loss", mode="min", save_last=True
    )
    logger = pl.loggers.CSVLogger(chosen.out, name="csv", version=0)
    trainer = pl.Trainer(
        accelerator="cpu", devices=1, max_steps=chosen.steps, max_epochs=chosen.epochs or -1,
        accumulate_grad_batches=chosen.accumulate, gradient_clip_val=chosen.clip, callbacks=[callback, best],
        logger=logger, log_every_n_steps=5, enable_progress_bar=False, enable_model_summary=False,
        val_check_interval=None, check_val_every_n_epoch=1,
    )  # fmt: skip
    model = Line(chosen)
    trainer.fit(model, data(64), data(16), ckpt_path=chosen.resume)
    with open(f"{chosen.out}.truth", "w", encoding="utf-8") as stream:
        json.dump({"losses": model.said, "norms": NORMS}, stream)


if __name__ == "__main__":
    torch.set_num_threads(1)
    print("lightning", pl.__version__)
    for separated, part in itertools.groupby(sys.argv[1:], lambda word: word == "++"):
        if not separated:
            run(list(part))
