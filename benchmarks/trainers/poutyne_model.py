"""Poutyne's Model.fit with the progress bars that it has by default."""

import planted
from poutyne import Model

x, y = planted.tensors(planted.BATCHES * planted.BATCH)
net = planted.net()
Model(net, "adam", planted.mean_square, device="cpu").fit(
    x.numpy(), y.numpy(), batch_size=planted.BATCH, epochs=planted.EPOCHS
)
