"""pytorch-accelerated's Trainer: bars, and a line an epoch."""

import planted
import torch
from pytorch_accelerated import Trainer
from torch.utils.data import TensorDataset


class Loss(torch.nn.Module):
    def forward(self, predicted, wanted):
        return planted.mean_square(predicted, wanted)


net = planted.net()
trainer = Trainer(net, Loss(), torch.optim.Adam(net.parameters(), lr=5e-3))
data = TensorDataset(*planted.tensors(planted.BATCHES * planted.BATCH))
trainer.train(data, num_epochs=planted.EPOCHS, per_device_batch_size=planted.BATCH)
