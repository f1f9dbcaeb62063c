#!/bin/sh
# lightning 2.6.6, TQDMProgressBar: a number of the bar is padded to five characters with a point and zeros, also where it
# is none: a NaN is shown as "nan.0" and an infinite loss as "inf.0", which is no number to any parser.
packages="lightning==2.6.6 torch==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import lightning
import torch
from lightning.pytorch.callbacks import TQDMProgressBar


class Probe(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = torch.nn.Linear(4, 1)

    def training_step(self, batch, index):
        loss = self.net(batch).square().mean()
        self.log("train_loss", loss * float("nan"), prog_bar=True)
        self.log("highest", torch.tensor(float("inf")), prog_bar=True)
        return loss

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


lightning.Trainer(
    max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, callbacks=[TQDMProgressBar()]
).fit(Probe(), torch.utils.data.DataLoader(torch.ones(8, 4), batch_size=2))
PY
"$python" probe.py 2>&1 | tr '\r' '\n' >said.txt
grep -o "train_loss=.*" said.txt | tail -1
grep -q "train_loss=nan\.0" said.txt && grep -q "highest=inf\.0" said.txt
"$python" -c 'float("nan.0")' 2>&1 | tail -1
