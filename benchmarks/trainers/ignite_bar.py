"""PyTorch-Ignite: its ProgressBar and a line of its logger an epoch."""

import planted
import torch
from ignite.engine import Engine, Events
from ignite.handlers import ProgressBar
from ignite.utils import setup_logger

net = planted.net()
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)


def update(engine, batch):
    optimizer.zero_grad()
    loss = planted.mean_square(net(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.item()


trainer = Engine(update)
trainer.logger = setup_logger("trainer")
ProgressBar(persist=True).attach(trainer, output_transform=lambda loss: {"loss": loss})


@trainer.on(Events.EPOCH_COMPLETED)
def told(engine):
    engine.logger.info("epoch %d done", engine.state.epoch)


trainer.run(planted.loader(planted.STEPS // 2), max_epochs=2)
