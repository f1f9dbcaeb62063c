"""fastai's Learner: a table with a row an epoch."""

import planted
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch.utils.data import TensorDataset

data = TensorDataset(*planted.tensors(planted.BATCHES * planted.BATCH))
loaders = DataLoaders.from_dsets(data, data, bs=planted.BATCH, device=torch.device("cpu"))
Learner(loaders, planted.net(), loss_func=planted.mean_square).fit(planted.EPOCHS, 5e-3)
