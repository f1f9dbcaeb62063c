"""Monotonic alignment search as one Triton kernel. Called by `modules.alignment` through `modules.kernels`.

One program per sample: the loop over frames is inside, a row of tokens is a vector, and the way back runs in the same
launch. The same additions and comparisons as the torch path in the same order, so the path is the same to the frame,
ties and NaN included. Shapes: B batch, F frames, L tokens.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

from speech_trainer.modules.alignment import NEVER

LONGEST: Final = 4096  # tokens: what a row of registers holds
_CHUNK: Final = 128  # frames of the mask that are counted at once
_STAGES: Final = 4  # rows of scores that are fetched ahead of the search


@triton.jit(do_not_specialize=["num_frames", "num_tokens"])
def search(
    scores,
    mask,
    moves,
    path,
    num_frames,
    num_tokens,
    NEVER: tl.constexpr,
    BLOCK: tl.constexpr,
    CHUNK: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Of scores and mask [B, F, L]: moves [B, F, L] int8, whether a path came from the token before, and the path."""
    sample = tl.program_id(0).to(tl.int64) * num_frames * num_tokens
    token = tl.arange(0, BLOCK)
    inside = token < num_tokens
    tokens = tl.sum(tl.load(mask + sample + token, mask=inside, other=0).to(tl.int32), 0)
    seen = tl.zeros([CHUNK], tl.int32)
    for first in range(0, num_frames, CHUNK):
        frame = first + tl.arange(0, CHUNK)
        place = mask + sample + frame * num_tokens
        seen += tl.load(place, mask=frame < num_frames, other=0).to(tl.int32)
    frames = tl.sum(seen, 0)

    # Tokens and frames behind the sample's end hear of nothing that is asked later: they need no mask.
    best = tl.full([BLOCK], NEVER, tl.float32)  # of all paths into the frame before
    for frame in tl.range(0, frames, num_stages=STAGES):
        row = sample + frame * num_tokens + token
        value = tl.load(scores + row, mask=inside, other=0.0)
        start = tl.where(frame == 0, 0.0, NEVER)
        come = tl.where(token == 0, start, tl.gather(best, tl.maximum(token - 1, 0), 0))
        tl.store(moves + row, (come >= best).to(tl.int8), mask=inside)
        best = tl.maximum(best, come, propagate_nan=tl.PropagateNan.ALL) + value

    tl.debug_barrier()  # what one thread has stored, all others load
    current = tl.maximum(tokens - 1, 0)
    for back in range(num_frames):
        frame = num_frames - 1 - back
        row = sample + frame * num_tokens
        on_path = (token == current) & (token < tokens) & (frame < frames)
        tl.store(path + row + token, on_path.to(tl.float32), mask=inside)
        moved = tl.load(moves + row + current, mask=frame < frames, other=0).to(tl.int32)
        current = tl.maximum(current - moved, 0)


def launch(scores: Tensor, mask: Tensor) -> Tensor:
    """0/1 [B, F, L] of float32 scores and a mask [B, F, L] that is true in a sample's first frames and tokens."""
    batch, frames, tokens = scores.shape
    if tokens > LONGEST:
        raise ValueError(f"{tokens} tokens; the kernel holds at most {LONGEST}")
    block = max(16, triton.next_power_of_2(tokens))
    path = torch.empty_like(scores, memory_format=torch.contiguous_format)
    search[(batch,)](
        scores.contiguous(),
        mask.contiguous().view(torch.uint8),
        torch.empty(scores.shape, dtype=torch.int8, device=scores.device),
        path,
        frames,
        tokens,
        NEVER=NEVER,
        BLOCK=block,
        CHUNK=_CHUNK,
        STAGES=_STAGES,
        num_warps=4 if block <= 1024 else 8,
    )
    return path
