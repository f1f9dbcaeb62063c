#!/bin/sh
# fastai 2.8.12: where standard output is a pipe, Learner.fit prints each epoch as the text of a Python list, and no
# heading: nothing says which number is the training loss and which the validation loss, and times stand in quotes:
#   [0, 0.6368741989135742, 0.5305083990097046, '00:00']
packages="fastai==2.8.12 torch==2.11.0"
. "$(dirname "$0")/environment.sh"
cat > probe.py <<'PY'
import torch
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from torch.utils.data import TensorDataset

data = TensorDataset(torch.randn(16, 4), torch.randn(16, 1))
loaders = DataLoaders.from_dsets(data, data, bs=8, device=torch.device("cpu"))
Learner(loaders, torch.nn.Linear(4, 1), loss_func=torch.nn.functional.mse_loss).fit(3)
PY
"$python" probe.py 2>/dev/null | cat >said.txt
cat said.txt
rows=$(grep -Ec "^\[[0-9], [0-9.]+, [0-9.]+, '[0-9:]+'\]$" said.txt)
named=$(grep -c "train_loss" said.txt || true)
echo "rows that are lists: $rows; lines with a heading: $named"
[ "$rows" -eq 3 ] && [ "$named" -eq 0 ]
