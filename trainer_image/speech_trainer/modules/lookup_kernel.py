"""The closest code of each vector as one Triton kernel. Called by `modules.quantizer` through `modules.kernels`.

A program takes some vectors and goes over all codes, tile by tile, with the best so far in registers: the table of
scores [N, K], which the torch path writes and reads, never exists. Products are float32 (`ieee`): TF32 keeps ten bits
and would choose other codes. Shapes: N vectors, K codes, D dimensions.
"""

from typing import Final

import torch
import triton
import triton.language as tl
from torch import Tensor

_ROWS: Final = 16  # vectors of a program: a batch of 72 crops fills an H200 once
_CODES: Final = 128  # of a tile
_WIDEST: Final = 64  # dimensions of a tile


@triton.jit(do_not_specialize=["num_vectors", "num_codes", "width"])
def nearest(
    vectors,
    codes,
    middle,
    chosen,
    num_vectors,
    num_codes,
    width,
    BY_ANGLE: tl.constexpr,
    ROWS: tl.constexpr,
    CODES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Index [N] of the code with the largest score; of equal ones the lowest. `middle` [D] is read for distances."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    vector = vectors + row[:, None].to(tl.int64) * width
    best = tl.full([ROWS], float("-inf"), tl.float32)
    index = tl.zeros([ROWS], tl.int32)
    for first in range(0, num_codes, CODES):
        code = first + tl.arange(0, CODES)
        products = tl.zeros([ROWS, CODES], tl.float32)
        squares = tl.zeros([CODES], tl.float32)
        for low in range(0, width, WIDTH):
            column = low + tl.arange(0, WIDTH)
            used = (column < width)[None, :]
            v = tl.load(
                vector + column[None, :], mask=used & (row < num_vectors)[:, None], other=0.0
            )
            place = codes + code[:, None] * width + column[None, :]
            c = tl.load(place, mask=used & (code < num_codes)[:, None], other=0.0)
            if not BY_ANGLE:
                m = tl.load(middle + column, mask=column < width, other=0.0)[None, :]
                v, c = v - m, c - m
            products = tl.dot(v, tl.trans(c), products, input_precision="ieee")
            squares += tl.sum(c * c, 1)
        if BY_ANGLE:
            scores = products * tl.div_rn(1.0, tl.maximum(tl.sqrt_rn(squares), 1e-12))[None, :]
        else:
            scores = products - 0.5 * squares[None, :]
        scores = tl.where((code < num_codes)[None, :], scores, float("-inf"))
        top, place_of_top = tl.max(scores, 1, return_indices=True)
        better = top > best  # an equal one behind changes nothing
        index = tl.where(better, first + place_of_top, index)
        best = tl.where(better, top, best)
    tl.store(chosen + row, index.to(tl.int64), mask=row < num_vectors)


def launch(vectors: Tensor, codes: Tensor, by_angle: bool) -> Tensor:
    """Index [N] into float32 codes [K, D] for each of float32 vectors [N, D]."""
    count, width = vectors.shape
    chosen = torch.empty(count, dtype=torch.long, device=vectors.device)
    nearest[(triton.cdiv(count, _ROWS),)](
        vectors.contiguous(),
        codes.contiguous(),
        codes if by_angle else codes.mean(dim=0),
        chosen,
        count,
        codes.size(0),
        width,
        BY_ANGLE=by_angle,
        ROWS=_ROWS,
        CODES=_CODES,
        WIDTH=min(_WIDEST, max(16, triton.next_power_of_2(width))),
        num_warps=4,
    )
    return chosen
