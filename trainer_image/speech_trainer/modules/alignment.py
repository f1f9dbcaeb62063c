"""Monotonic alignment search: one Triton kernel on CUDA, plain torch on any device.

Called by the VITS generator under `no_grad`. Finds, for each sample, the path that gives every
token at least one frame, moves at most one token per frame, and has the greatest sum of scores
(Kim et al. 2020, "Glow-TTS", algorithm 1). The torch path answers where the kernel can't, and is
what the kernel is held to. Shapes: B batch, F frames, L tokens.
"""

from typing import Final

import torch
from torch import Tensor

from speech_trainer.modules.kernels import Kernel

NEVER: Final = -1e9  # a score no path takes; finite, so that adding to it stays finite
KERNEL: Final = Kernel("speech_trainer.modules.alignment_kernel")


def alignment_path(scores: Tensor, mask: Tensor) -> Tensor:
    """Best path, 0/1 [B, F, L] in the type of `scores`.

    Args:
        scores: [B, F, L] float32, log-likelihood of each frame under each token.
        mask: [B, F, L] bool, true in a sample's first frames and tokens. Each sample needs at
            least as many frames as tokens; where it has fewer, its first tokens get no frame.
    """
    found = KERNEL(scores, mask) if KERNEL.takes(scores) else None
    return path_in_torch(scores, mask) if found is None else found


def path_in_torch(scores: Tensor, mask: Tensor) -> Tensor:
    """The same, on any device."""
    moves = _moves(scores, mask)
    frames = mask.any(dim=2).sum(dim=1)
    tokens = mask.any(dim=1).sum(dim=1)
    path = _trace_back(moves, frames, tokens)
    # Compared rather than one_hot: that checks its input on the host.
    tokens_at = torch.arange(scores.size(2), device=scores.device)
    return (path.unsqueeze(-1) == tokens_at).to(scores.dtype) * mask


def _moves(scores: Tensor, mask: Tensor) -> Tensor:
    """Whether the best path into (frame, token) came from the token before: bool [F, B, L].

    Two kernels a frame: the table has one more token on the left, so that the start needs no
    special case; the decisions are compared for all frames at once afterwards.
    """
    batch, frames, tokens = scores.shape
    values = scores.float().masked_fill(~mask, NEVER).transpose(0, 1).contiguous()
    table = values.new_full((frames + 1, batch, tokens + 1), NEVER)
    table[0, :, 0] = 0.0
    stay, come = table[:, :, 1:].unbind(0), table[:, :, :-1].unbind(0)
    for frame, value in enumerate(values.unbind(0)):
        torch.add(torch.maximum(stay[frame], come[frame]), value, out=stay[frame + 1])
    return table[:-1, :, :-1] >= table[:-1, :, 1:]


def _trace_back(moves: Tensor, frames: Tensor, tokens: Tensor) -> Tensor:
    """Token of each frame, [B, F], from the last token at the last frame backwards."""
    count = moves.size(0)
    inside = torch.arange(count, device=moves.device).unsqueeze(1) < frames.unsqueeze(0)
    steps = (moves & inside.unsqueeze(-1)).long().unbind(0)
    token = (tokens - 1).unsqueeze(1)
    path = []
    for frame in range(count - 1, -1, -1):
        path.append(token)
        token = (token - steps[frame].gather(1, token)).clamp_min(0)
    return torch.cat(path[::-1], dim=1)
