"""The codebooks' whole life on the latents of a few real batches: fill, start, move, revive. Called by `preflight`.

The encoder runs once; then the quantiser goes through the updates up to its start and past its first revival, by the
recipe's own `after_update`. A dead code is planted on the way. What is measured is what came of it, not how it is done.
Changes codebooks and puts nothing back: the preflight does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor

from speech_contract.preflight import Check, CheckResult
from speech_trainer.models.codec import Codec
from speech_trainer.modules.quantizer import Quantized
from speech_trainer.preflight.rows import listed, number, row, skipped
from speech_trainer.recipes.codec.batch import CodecBatch

LEAST_CHOSEN: Final = (
    0.2  # of the codes that the latents could choose; k-means on them gave 0.43 and more
)
LEAST_MOVED: Final = 1e-4  # of itself in a few updates; averages of what was rounded move 1e-7
ALIKE: Final = (
    1e-3  # relative difference of two waveforms that are meant to be one; float32 has 1e-6
)
# Times the latents that the books started from, as of an encoder that learns: codes that sit on them have a way to go.
_GROWN: Final = 1.25
_RARE: Final = 1e-4  # of the usual count: that of a code that nothing chose for long
_FAR: Final = 1e3  # deviations of the codes from which nothing chooses a code
Update = Callable[[int], None]  # `after_update` of this step


@dataclass(frozen=True)
class _Seen:
    """`first`: of each batch, when the books had just started. `moved`, `revived`: by book."""

    first: list[Quantized]
    moved: list[float]
    revived: list[bool]


def rehearse(codec: Codec, batches: Sequence[CodecBatch], update: Update) -> list[CheckResult]:
    """Every rank calls `update` equally often, whatever its batches hold."""
    latents = [_encode(codec, batch) for batch in batches]
    seen = _live(codec, [(h, b.real) for h, b in zip(latents, batches, strict=True)], update)
    real = [number for number, batch in enumerate(batches) if batch.real]
    if not real:
        return [skipped(Check.CODEBOOKS, "no usable sample in these batches")]
    first = [seen.first[number] for number in real]
    settings = codec.quantizer.settings
    return [
        _chosen(torch.cat([quantized.codes for quantized in first]), settings.codes),
        # Projections that have not been trained yet may give back more than they took.
        *([] if settings.dimensions is not None else [_left(first)]),
        _moved(seen.moved),
        _revived(seen.revived),
        *_gradients(codec, latents[real[0]]),
        _decoded(codec, batches[real[0]]),
    ]


@torch.no_grad()
def _encode(codec: Codec, batch: CodecBatch) -> Tensor:
    device = next(codec.parameters()).device
    latent: Tensor = codec.encoder(batch.waveform.to(device)).float()
    return latent


@torch.no_grad()
def _live(codec: Codec, latents: Sequence[tuple[Tensor, bool]], update: Update) -> _Seen:
    quantizer, settings = codec.quantizer, codec.quantizer.settings
    start = settings.start_step
    # The second half of the steps before the start fills the reservoir.
    for step in range(max(1, start // 2), start):
        hidden, real = latents[step % len(latents)]
        quantizer(hidden, coded=False, real=real)
        update(step)
    first = [quantizer(hidden, real=False) for hidden, _ in latents]
    planted, revival = _plant(codec), start + max(settings.revive_every - 1, 1)
    # The first update may jump to where the statistics always were, and a revival moves codes as well.
    watched = {start + 1: "from", max(start + 2, revival): "to"}
    books: dict[str, list[Tensor]] = {}
    for step in range(start, revival + 2):
        if step in watched:
            books[watched[step]] = _others(codec, planted)
        hidden, real = latents[step % len(latents)]
        # After the revival nothing is learned: what was revived has to last without being chosen at once.
        quantizer(hidden * _GROWN, real=real and step <= revival)
        update(step)
    moved = [_way(*pair) for pair in zip(books["from"], books["to"], strict=True)]
    gone = [
        _way(code, level.codes[index]) > LEAST_MOVED
        for (index, code), level in zip(planted, quantizer.levels, strict=True)
    ]
    return _Seen(first, moved, gone)


def _plant(codec: Codec) -> list[tuple[int, Tensor]]:
    """In each book the rarest code is put where nothing chooses it: its index and where it is."""
    planted = []
    for level in codec.quantizer.levels:
        index = int(level.counts.argmin())
        if not level.by_angle:  # of which nothing is far
            level.codes[index] = level.codes.std() * _FAR
        level.counts[index] = level.counts.mean() * _RARE
        level.sums[index] = level.codes[index] * level.counts[index]
        planted.append((index, level.codes[index].clone()))
    return planted


def _others(codec: Codec, planted: Sequence[tuple[int, Tensor]]) -> list[Tensor]:
    """A copy of each book, without the code that was planted."""
    return [
        torch.cat([level.codes[:index], level.codes[index + 1 :]])
        for (index, _), level in zip(planted, codec.quantizer.levels, strict=True)
    ]


def _way(old: Tensor, new: Tensor) -> float:
    """How far it came, over its norm."""
    return float((new - old).norm() / old.norm().clamp_min(1e-12))


def _chosen(codes: Tensor, size: int) -> CheckResult:
    """Of the codes of each book, how many the latents choose that it started from. codes [B, L, F]."""
    shares = [
        float(book.unique().numel()) / min(size, book.numel()) for book in codes.unbind(dim=1)
    ]
    poor = [f"q{book} {share:.0%}" for book, share in enumerate(shares) if share < LEAST_CHOSEN]
    return _row(
        "codes in use at the start", poor, f"at least {min(shares):.0%}", f"at least {LEAST_CHOSEN:.0%} of each book",
        "start the books by k-means, from several real latents for each code",
    )  # fmt: skip


def _left(seen: Sequence[Quantized]) -> CheckResult:
    """Each level has to take away from what it is given."""
    books = zip(*(quantized.levels for quantized in seen), strict=True)
    left = [sum(float(level.residual) for level in book) / len(book) for book in books]
    bad = [f"q{book} {number(ratio)} times" for book, ratio in enumerate(left) if not ratio < 1.0]
    return _row(
        "residual that a book leaves", bad, f"at most {number(max(left))} times", "less than it is given",
        "its codes are not of the size of the latents: start it by k-means, not from N(0, 1)",
    )  # fmt: skip


def _moved(moved: Sequence[float]) -> CheckResult:
    still = [f"q{b} by {number(way)}" for b, way in enumerate(moved) if not way >= LEAST_MOVED]
    return _row(
        "movement", still, f"at least {number(min(moved))} of themselves", f"at least {LEAST_MOVED:g} in a few updates",
        "take the averages of the residual: those of what was rounded already are where they are",
    )  # fmt: skip


def _revived(revived: Sequence[bool]) -> CheckResult:
    dead = [f"q{book} dead again" for book, alive in enumerate(revived) if not alive]
    return _row(
        "revival of a dead code", dead, "alive in all books", "alive an update after its revival",
        "revive every code that nothing chooses, and start its count and its sum over with it",
    )  # fmt: skip


def _row(field: str, bad: Sequence[str], fine: str, expected: str, remedy: str) -> CheckResult:
    """`bad`: what is told of the books that fail."""
    return row(Check.CODEBOOKS, field, not bad, listed(bad) if bad else fine, expected, remedy)


def _gradients(codec: Codec, latent: Tensor) -> list[CheckResult]:
    """Commitment pulls latents to codes, and what the decoder wants reaches the encoder through the rounding."""
    hidden = latent.detach().clone().requires_grad_()
    quantized = codec.quantizer(hidden, real=False)
    weights = torch.linspace(-1.0, 1.0, hidden.size(-1), device=hidden.device)
    through = _pull((quantized.hidden * weights).sum(), hidden)
    commitment = _pull(quantized.commitment, hidden)
    return [
        row(
            Check.CODEBOOKS, "gradient through the codes", through > 0.0, number(through), "above 0",
            "pass the gradient straight through: latent + (code - latent).detach()",
        ),
        row(
            Check.CODEBOOKS, "gradient of commitment to latents", commitment > 0.0, number(commitment), "above 0",
            "detach the codes, not the latents: mse(latent, code.detach())",
        ),
    ]  # fmt: skip


def _pull(value: Tensor, hidden: Tensor) -> float:
    """Norm of the gradient; 0 without one."""
    if not value.requires_grad:
        return 0.0
    (gradient,) = torch.autograd.grad(value, hidden, materialize_grads=True)
    return float(gradient.norm())


@torch.no_grad()
def _decoded(codec: Codec, batch: CodecBatch) -> CheckResult:
    """What training hears is what the codes alone give."""
    codec.eval()
    waveform = batch.waveform.to(next(codec.parameters()).device)
    heard, quantized = codec(waveform)
    alone = codec.decoder(codec.quantizer.decode(quantized.codes)).float()
    apart = _way(heard, alone)
    return row(
        Check.CODEBOOKS, "decoded from the codes alone", apart <= ALIKE, f"differs by {number(apart)}",
        f"what training hears, to {ALIKE:g}",
        "give the decoder the codes and nothing else: what it hears past them is not in the bit stream",
    )  # fmt: skip
