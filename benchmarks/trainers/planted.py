"""What every script here trains: a small net on random numbers, with a loss that is NaN from a step on.

The step is the script's one argument, 0 for a sound run. Imported by the scripts beside it, each in an environment of
its own: needs nothing but the standard library, and torch for `net` and `tensors`.
"""

from __future__ import annotations

import itertools
import random
import sys
from typing import Any

STEPS = 48  # of a script that reports every step
EPOCHS = 30  # of one that reports every epoch
BATCHES = 2  # an epoch, there
WIDTH, BATCH = 16, 8
FROM = int(sys.argv[1]) if len(sys.argv) > 1 else 0
_steps = itertools.count(1)
sys.argv = sys.argv[:1]  # frameworks that parse the command line find nothing


def rows(number: int) -> list[tuple[list[float], float]]:
    """Points near a plane: what can be learned."""
    chance = random.Random(1)
    points = [[chance.gauss(0, 1) for _ in range(WIDTH)] for _ in range(number)]
    return [(point, sum(point[:4]) / 2 + chance.gauss(0, 0.3)) for point in points]


def poisoned(loss: Any) -> Any:
    """The loss of a training step, NaN where planted. Call it once a step."""
    step = next(_steps)
    return loss * float("nan") if FROM and step >= FROM else loss


def tensors(number: int) -> tuple[Any, Any]:
    """The same as float tensors [number, WIDTH] and [number, 1]."""
    import torch

    points = rows(number)
    return torch.tensor([x for x, _ in points]), torch.tensor([[y] for _, y in points])


def net() -> Any:
    """Two layers, the same at every start."""
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    return torch.nn.Sequential(torch.nn.Linear(WIDTH, 32), torch.nn.ReLU(), torch.nn.Linear(32, 1))


def loader(batches: int) -> Any:
    """Batches of [BATCH, WIDTH] and [BATCH, 1]."""
    from torch.utils.data import DataLoader, TensorDataset

    return DataLoader(TensorDataset(*tensors(batches * BATCH)), batch_size=BATCH)


def mean_square(predicted: Any, wanted: Any) -> Any:
    """The loss of a step, poisoned where planted; called outside of training it counts no step."""
    loss = ((predicted - wanted) ** 2).mean()
    return poisoned(loss) if loss.requires_grad else loss
