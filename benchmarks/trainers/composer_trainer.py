"""MosaicML's Composer with its ProgressBarLogger."""

import planted
import torch
from composer import ComposerModel, Trainer


class Net(ComposerModel):
    def __init__(self) -> None:
        super().__init__()
        self.net = planted.net()

    def forward(self, batch):
        return self.net(batch[0])

    def loss(self, outputs, batch):
        return planted.mean_square(outputs, batch[1])


net = Net()
Trainer(
    model=net,
    train_dataloader=planted.loader(planted.STEPS // 2),
    max_duration="2ep",
    optimizers=torch.optim.Adam(net.parameters(), lr=5e-3),
    device="cpu",
    progress_bar=False,
    log_to_console=True,
    console_log_interval="1ba",
).fit()
