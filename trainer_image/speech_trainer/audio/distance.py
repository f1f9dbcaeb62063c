"""How far synthesized speech is from a recording: DTW-mel, and the trivial scores to beat.

Called by recipes' evaluation. All inputs are log-mel spectrograms [M, F] on the CPU. A falling
training loss proves little: these figures are always printed beside the constant median frame
and another sentence of the same voice.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Grid = npt.NDArray[np.float64]


def dtw_mel(candidate: Tensor, reference: Tensor) -> float:
    """Mean L1 per mel bin along the best alignment of two log-mels [M, F1] and [M, F2].

    Each cell of the path counts once; the sum is divided by the length of the path.
    """
    assert candidate.size(0) == reference.size(0), "log-mels with different numbers of mel bins"
    costs = torch.cdist(candidate.T.double(), reference.T.double(), p=1) / candidate.size(0)
    total, length = _best_path(costs.numpy())
    return total / length


def length_ratio(candidate: Tensor, reference: Tensor) -> float:
    """Frames of the candidate [M, F1] per frame of the reference [M, F2]."""
    return candidate.size(-1) / reference.size(-1)


def median_frame(log_mels: Sequence[Tensor]) -> Tensor:
    """Per-bin median [M] over all frames of several log-mels: the best constant guess in L1."""
    return torch.cat(list(log_mels), dim=-1).median(dim=-1).values


def constant_distance(frame: Tensor, reference: Tensor) -> float:
    """Mean L1 between a constant frame [M] and a log-mel [M, F]; alignment can't help it."""
    return float((reference - frame.unsqueeze(-1)).abs().mean())


def _best_path(costs: Grid) -> tuple[float, int]:
    """Cost and number of cells of the cheapest monotonic path, anti-diagonal by anti-diagonal."""
    rows, columns = costs.shape
    total = np.full((rows + 1, columns + 1), np.inf)
    cells = np.zeros((rows + 1, columns + 1), dtype=np.int64)
    total[0, 0] = 0.0
    for diagonal in range(rows + columns - 1):
        i = np.arange(max(0, diagonal - columns + 1), min(rows, diagonal + 1))
        j = diagonal - i
        before = np.stack([total[i, j], total[i, j + 1], total[i + 1, j]])
        steps = np.stack([cells[i, j], cells[i, j + 1], cells[i + 1, j]])
        best = before.argmin(axis=0)
        column = np.arange(i.size)
        total[i + 1, j + 1] = before[best, column] + costs[i, j]
        cells[i + 1, j + 1] = steps[best, column] + 1
    return float(total[rows, columns]), int(cells[rows, columns])
