"""Residual vector quantiser whose codebooks are moving averages: each level codes what the levels before it left.

Called by `models.codec`. Codes are moving averages of what chose them (van den Oord et al. 2017, appendix A), started
by k-means, and codes that nothing chooses are revived: no gradient and no weight decay writes a codebook. A level
either looks up the closest code of the residual itself, or, as DAC does (Kumar et al. 2023), projects the residual to
a few dimensions, looks up the code of the smallest angle and projects it back: what DAC's weights need.

Everything that training changes without a gradient is a buffer here and *staged* at the engine: a bad step takes it
back. `forward` only collects statistics; `update` moves the codes, once an update, the same way on every rank.

Shapes: B batch, H hidden, D code dimensions, F frames, N = B·F vectors, K codes, R vectors of the reservoir.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from speech_trainer.modules.kernels import Kernel

KERNEL = Kernel("speech_trainer.modules.lookup_kernel")
MARKED_EVERY = (
    100  # updates: the movement of the codes is told over so many, of young ones over fewer
)
YOUNG = 40  # updates of a book whose movement is told at each
_UNKNOWN = 1e-6  # of a moving count: a code that nothing chose for so long stays where it is

Reduce = Callable[[Tensor], Tensor]  # sum over all ranks, in place; returns its argument
Gather = Callable[[Tensor], Tensor]  # rows of all ranks below each other, in the order of ranks


@dataclasses.dataclass(frozen=True)
class QuantizerSettings:
    """Sizes and paces."""

    levels: int = 9
    codes: int = 1024
    dimensions: int | None = None  # of a code, for DAC's lookup by angle; None: codes are latents
    dropout: float = 0.0  # share of a batch that is coded by a random number of levels
    decay: float = 0.99  # of the moving averages, per update
    start_step: int = (
        50  # until then nothing is rounded, so that k-means sees latents that mean something
    )
    start_vectors: int = 8  # per code, kept for k-means
    iterations: int = 10  # of k-means
    revive_every: int = 20  # updates
    dead_share: float = 0.02  # of the mean usage: a code below it is dead


@dataclasses.dataclass(frozen=True)
class Level:
    """What one level saw in a batch. `usage` [K]; `residual`: variance left over variance given, scalar."""

    usage: Tensor
    residual: Tensor


@dataclasses.dataclass(frozen=True)
class Quantized:
    """`hidden` [B, H, F] straight-through; `codes` [B, L, F]; `commitment` scalar, a mean over levels."""

    hidden: Tensor
    codes: Tensor
    commitment: Tensor
    levels: list[Level]


class CodeLevel(nn.Module):
    """One codebook. Projections are named as those of `DacVectorQuantize`; its `codebook.weight` is `codes` here."""

    in_proj: nn.Module
    out_proj: nn.Module

    codes: Tensor  # [K, D]
    sums: Tensor  # [K, D], moving, of what chose each code
    counts: Tensor  # [K], moving, of how much chose each code
    batch_sums: Tensor
    batch_counts: Tensor
    anchor: Tensor  # the codes some updates ago
    movement: Tensor  # scalar

    def __init__(self, hidden: int, settings: QuantizerSettings) -> None:
        super().__init__()
        size, width = settings.codes, settings.dimensions or hidden
        self.by_angle = settings.dimensions is not None
        self.in_proj = nn.Conv1d(hidden, width, 1) if self.by_angle else nn.Identity()
        self.out_proj = nn.Conv1d(width, hidden, 1) if self.by_angle else nn.Identity()
        for name in ("codes", "sums", "batch_sums", "anchor"):
            self.register_buffer(name, torch.zeros(size, width), persistent=False)
        for name in ("counts", "batch_counts"):
            self.register_buffer(name, torch.zeros(size), persistent=False)
        self.register_buffer("movement", torch.zeros(()), persistent=False)
        # Until k-means: something that depends on the input, for the preflight looks at late steps too.
        self.start(torch.randn(size, width), torch.ones(size))
        self._pool: Tensor | None = None  # [K, D]: vectors of this step on this rank

    def nearest(self, projected: Tensor) -> Tensor:
        """Index [N] of the code closest to each row of projected [N, D]."""
        return closest(projected, self.codes, by_angle=self.by_angle)

    @torch.no_grad()
    def collect(self, projected: Tensor, chosen: Tensor) -> Tensor:
        """Add a batch [N, D] to the statistics of this update; returns how often each code was chosen, [K]."""
        ones = torch.ones_like(projected[:, 0])
        usage = torch.zeros_like(self.counts).index_add_(0, chosen, ones)
        self.batch_counts += usage
        self.batch_sums.index_add_(0, chosen, projected)
        rows = torch.randint(projected.size(0), (self.codes.size(0),), device=projected.device)
        self._pool = projected[rows]
        return usage

    def pool(self) -> Tensor:
        """[K, D] vectors of this step, of which dead codes are made anew; its own codes where there was a stand-in."""
        pool, self._pool = self._pool, None
        return self.codes if pool is None else pool

    def move(self, decay: float, reduce: Reduce) -> None:
        """Let the averages follow what this update collected on all ranks."""
        reduce(self.batch_counts)
        reduce(self.batch_sums)
        self.counts.lerp_(self.batch_counts, 1.0 - decay)
        self.sums.lerp_(self.batch_sums, 1.0 - decay)
        self.batch_counts.zero_()
        self.batch_sums.zero_()
        known = self.counts.unsqueeze(1) > _UNKNOWN
        self.codes.copy_(torch.where(known, self.sums / self.counts.unsqueeze(1), self.codes))

    def revive(self, dead_share: float, vectors: Tensor) -> None:
        """Make dead codes anew from `vectors` [K, D], which are the same on every rank.

        Their averages start over: a code that keeps a dead one's count would be dead again at once. So does their
        movement, which tells what averages do.
        """
        usual = self.counts.mean()
        dead = self.dead(dead_share)
        self.anchor.copy_(torch.where(dead.unsqueeze(1), vectors, self.anchor))
        self.codes.copy_(torch.where(dead.unsqueeze(1), vectors, self.codes))
        self.counts.copy_(torch.where(dead, usual, self.counts))
        fresh = self.codes * self.counts.unsqueeze(1)
        self.sums.copy_(torch.where(dead.unsqueeze(1), fresh, self.sums))

    def dead(self, share: float) -> Tensor:
        """[K] bool: chosen less than `share` of what a code is chosen on average."""
        return self.counts < share * self.counts.mean()

    def start(self, codes: Tensor, counts: Tensor) -> None:
        """Begin at these codes [K, D], chosen as often as `counts` [K]."""
        self.codes.copy_(codes)
        self.counts.copy_(counts)
        self.sums.copy_(codes * counts.unsqueeze(1))
        self.anchor.copy_(codes)

    def measure(self) -> None:
        """How far the codes moved since the last mark, over the norm."""
        self.movement.copy_(
            (self.codes - self.anchor).norm() / self.anchor.norm().clamp_min(_UNKNOWN)
        )

    def mark(self) -> None:
        """Measure, and count from here."""
        self.measure()
        self.anchor.copy_(self.codes)


class ResidualQuantizer(nn.Module):
    """Levels one after the other, and the vectors that start them."""

    reservoir: Tensor  # [R, H]
    filled: Tensor  # [R], 1 where a vector was written

    def __init__(self, hidden: int, settings: QuantizerSettings) -> None:
        super().__init__()
        self.settings = settings
        self.quantizers = nn.ModuleList(CodeLevel(hidden, settings) for _ in range(settings.levels))
        size = settings.codes * settings.start_vectors if settings.start_step > 1 else 0
        self.register_buffer("reservoir", torch.zeros(size, hidden), persistent=False)
        self.register_buffer("filled", torch.zeros(size), persistent=False)
        self._latest: Tensor | None = None  # [N, H] of this step, until `update` keeps some of them

    @property
    def levels(self) -> list[CodeLevel]:
        """In their order."""
        return [level for level in self.quantizers if isinstance(level, CodeLevel)]

    def staged(self) -> dict[str, Tensor]:
        """Every buffer that training changes; for `Built.staged`."""
        return dict(self.named_buffers())

    def forward(self, hidden: Tensor, *, coded: bool = True, real: bool = True) -> Quantized:
        """hidden [B, H, F] → what the decoder is given, always in float32.

        `coded` False: before the start, latents pass unrounded. `real` False: a stand-in, which no statistic may see.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            return self._forward(hidden.float(), coded, real)

    def _forward(self, hidden: Tensor, coded: bool, real: bool) -> Quantized:
        shares = self._levels_of(hidden.size(0), hidden.device)
        residual, total = hidden, torch.zeros_like(hidden)
        codes, commitments, seen = [], [], []
        if self.training and real:
            self._latest = _rows(hidden.detach()) if not coded else None
        for index, level in enumerate(self.levels):
            projected = level.in_proj(residual)
            rounded = projected
            if coded:
                rows = _rows(projected)
                chosen = level.nearest(rows.detach())
                found = (
                    level.codes[chosen].reshape(hidden.size(0), -1, rows.size(1)).transpose(1, 2)
                )
                commitments.append(functional.mse_loss(projected, found))
                rounded = projected + (found - projected).detach()
                codes.append(chosen.reshape(hidden.size(0), -1))
            back = level.out_proj(rounded)
            total = total + (back if shares is None else back * (index < shares)[:, None, None])
            given, residual = residual, residual - back
            if coded:
                left = residual.detach().square().mean() / given.detach().square().mean()
                usage = level.counts
                if self.training and real:
                    usage = level.collect(rows.detach(), chosen)
                seen.append(Level(usage, left))
        commitment = torch.stack(commitments).mean() if commitments else hidden.new_zeros(())
        stacked = torch.stack(codes, dim=1) if codes else torch.empty(0, dtype=torch.long)
        return Quantized(total, stacked, commitment, seen)

    def decode(self, codes: Tensor) -> Tensor:
        """codes [B, L, F] → hidden [B, H, F]; L may be smaller than the number of levels."""
        parts = [
            level.out_proj(level.codes[codes[:, index]].transpose(1, 2))
            for index, level in enumerate(self.levels[: codes.size(1)])
        ]
        return torch.stack(parts).sum(dim=0)

    @torch.no_grad()
    def update(self, step: int, seed: int, reduce: Reduce, gather: Gather) -> None:
        """Once after each update, on every rank: fill the reservoir, start, move, revive. Waits for no host."""
        settings, start = self.settings, self.settings.start_step
        chance = torch.Generator().manual_seed((seed << 20) + step)  # the same on every rank
        if step < start:
            self._keep(step, chance, gather)
            if step == start - 1:
                self._start(chance)
            return
        for level in self.levels:
            level.move(settings.decay, reduce)
            if (step - start + 1) % settings.revive_every == 0:
                pool = gather(level.pool())
                picked = torch.randperm(pool.size(0), generator=chance)[: settings.codes]
                level.revive(settings.dead_share, pool[picked.to(pool.device)])
            if (step - start + 1) % MARKED_EVERY == 0:
                level.mark()
            elif step - start < YOUNG:
                level.measure()

    def _levels_of(self, batch: int, device: torch.device) -> Tensor | None:
        """[B] how many levels each sample is coded with; None: all."""
        dropped = int(batch * self.settings.dropout)
        if not (self.training and dropped):
            return None
        levels = torch.full((batch,), self.settings.levels, device=device)
        levels[:dropped] = torch.randint(1, self.settings.levels + 1, (dropped,), device=device)
        return levels

    def _keep(self, step: int, chance: torch.Generator, gather: Gather) -> None:
        """Write some vectors of this step over the oldest ones: the reservoir ends with the newest steps' latents."""
        size = self.reservoir.size(0)
        latest, real = self._latest, 1.0
        if latest is None:  # a stand-in on this rank: others must not wait for it
            latest, real = self.reservoir[:1], 0.0
        share = min(size, -(-2 * size // max(1, self.settings.start_step - 1)))
        rows = torch.randint(latest.size(0), (share,), generator=chance).to(latest.device)
        kept = gather(latest[rows])
        marks = gather(torch.full((share,), real, device=latest.device))
        places = (torch.arange(kept.size(0), device=kept.device) + (step - 1) * kept.size(0)) % size
        self.reservoir[places] = torch.where(marks.unsqueeze(1) > 0, kept, self.reservoir[places])
        self.filled[places] = torch.maximum(self.filled[places], marks)
        self._latest = None

    def _start(self, chance: torch.Generator) -> None:
        """K-means, level by level, on what the levels before leave of the reservoir."""
        residual = self.reservoir
        for level in self.levels:
            projected = _rows(level.in_proj(residual.T.unsqueeze(0)))
            level.start(
                *kmeans(projected, self.filled, self.settings, chance, by_angle=level.by_angle)
            )
            found = level.codes[level.nearest(projected)]
            residual = residual - _rows(level.out_proj(found.T.unsqueeze(0)))


def closest(vectors: Tensor, codes: Tensor, *, by_angle: bool) -> Tensor:
    """Index [N] into codes [K, D] for each of vectors [N, D]: smallest distance, or angle; the first of equals.

    On CUDA one Triton kernel; where two scores differ by rounding alone, it may choose the other.
    """
    found = KERNEL(vectors, codes, by_angle) if KERNEL.takes(vectors, codes) else None
    return closest_in_torch(vectors, codes, by_angle=by_angle) if found is None else found


def closest_in_torch(vectors: Tensor, codes: Tensor, *, by_angle: bool) -> Tensor:
    """The same, on any device.

    The smallest distance is the largest c·v - |c|²/2: no matrix of differences, one product. Both are measured from the
    middle of the codes, or what they have in common would drown in rounding what sets them apart.
    """
    if by_angle:
        # The length of a vector does not change which code is largest.
        codes = functional.normalize(codes)
        return (vectors @ codes.T).argmax(dim=1)
    middle = codes.mean(dim=0)
    vectors, codes = vectors - middle, codes - middle
    return torch.addmm(codes.square().sum(dim=1) * -0.5, vectors, codes.T).argmax(dim=1)


def kmeans(
    vectors: Tensor,
    weights: Tensor,
    settings: QuantizerSettings,
    chance: torch.Generator,
    *,
    by_angle: bool,
) -> tuple[Tensor, Tensor]:
    """Codes [K, D] and how often each is chosen [K], of vectors [R, D] with weights [R] of 0 or 1.

    A cluster that nothing chooses keeps the vector that it began with.
    """
    keys = torch.rand(vectors.size(0), generator=chance).to(vectors.device) + weights
    codes = vectors[keys.topk(settings.codes).indices]
    for _ in range(settings.iterations):
        chosen = closest(vectors, codes, by_angle=by_angle)
        counts = torch.zeros_like(codes[:, 0]).index_add_(0, chosen, weights)
        sums = torch.zeros_like(codes).index_add_(0, chosen, vectors * weights.unsqueeze(1))
        used = counts.unsqueeze(1) > 0
        codes = torch.where(used, sums / counts.clamp_min(1.0).unsqueeze(1), codes)
    return codes, counts.clamp_min(1.0)


def alone(tensor: Tensor) -> Tensor:
    """Reduce or gather in a world of one."""
    return tensor


def _rows(hidden: Tensor) -> Tensor:
    """[B, D, F] → [B·F, D]."""
    return hidden.transpose(1, 2).reshape(-1, hidden.size(1))
