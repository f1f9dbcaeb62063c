"""skorch: a table with a row an epoch."""

import planted
import skorch
import torch


class Loss(torch.nn.Module):
    def forward(self, predicted, wanted):
        return planted.mean_square(predicted, wanted)


x, y = planted.tensors(planted.BATCHES * planted.BATCH * 5 // 4)
net = planted.net()
skorch.NeuralNetRegressor(
    net,
    criterion=Loss,
    optimizer=torch.optim.Adam,
    lr=5e-3,
    max_epochs=planted.EPOCHS,
    batch_size=planted.BATCH,
).fit(x.numpy(), y.numpy())
