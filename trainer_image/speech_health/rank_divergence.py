"""Rule RankDivergence: one rank is off from its peers.

Four signals, one finding, the gravest first:
- weights or step counters differ (compared by the ranks themselves): critical, the attempt ends with 46
- a rank's step counter is far from its peers' (ranks that nobody compares): warning
- a rank's own gradient norm is far from its peers', before the all-reduce hides it: warning
- the others wait for a rank in the all-reduce: warning

A majority names the suspect. Two ranks cannot vote; then only a gradient norm that left its own history does.
"""

from __future__ import annotations

import collections
import dataclasses
import math
from collections.abc import Sequence

from speech_contract import thresholds
from speech_contract.findings import RankRow
from speech_contract.phases import Phase
from speech_contract.report import Peers
from speech_contract.rules import Rule
from speech_contract.values import Value, frozen
from speech_health.detector import Attempt, Detector
from speech_health.median import median
from speech_health.samples import StepSample

LEAN = 4.0  # a norm this many times off its history, and off the next one's, leans the vote
HISTORY = 20  # samples of each rank's own gradient norm
ENOUGH = 3  # of them before they say anything
SKEW_SECONDS = 30.0  # workers are heard once a second; a lag that lasts is none of the wire
NAMED = 8  # ranks in a sentence


@frozen
class Vote(Value):
    """Who is off. `suspect` None: nobody can say."""

    suspects: tuple[int, ...]
    suspect: int | None
    majority: int  # size of the group that outvotes the others; 0 without one


def vote(groups: Sequence[Sequence[int]], deviations: Sequence[float] = ()) -> Vote:
    """Judge groups of equal ranks, the largest first. `deviations`: by rank, times off its own history (≥ 1)."""
    world = sum(len(group) for group in groups)
    largest = groups[0] if groups else ()
    if 2 * len(largest) > world:
        off = tuple(sorted(rank for group in groups[1:] for rank in group))
        return Vote(off, off[0] if len(off) == 1 else _lean(off, deviations), len(largest))
    everyone = tuple(sorted(rank for group in groups for rank in group))
    return Vote(everyone, _lean(everyone, deviations), 0)


def _lean(ranks: Sequence[int], deviations: Sequence[float]) -> int | None:
    """The one rank whose gradient norm left its history far more than any other's; None without one."""
    known = sorted(((deviations[r], r) for r in ranks if r < len(deviations)), reverse=True)
    if len(known) < 2:
        return None
    (most, rank), (next_most, _) = known[:2]
    return rank if most >= LEAN and most >= LEAN * next_most else None


def outlier(values: Sequence[float], factor: float) -> tuple[int, float] | None:
    """(rank, times off the median of the others) of the one value off by `factor` or more; None without one.

    Two values cannot say which is off; 0 is an empty batch and takes no part.
    """
    finite = [(value, rank) for rank, value in enumerate(values) if value and math.isfinite(value)]
    lost = [(value, rank) for rank, value in enumerate(values) if not math.isfinite(value)]
    worst = (1.0, -1)
    for value, rank in [*lost[:1], *([min(finite), max(finite)] if finite else [])]:
        others = [v for v, r in finite if r != rank]
        if len(others) > 1:
            worst = max(worst, (_times(value, _middle(others)), rank))
    times, rank = worst
    return (rank, times) if times >= factor else None


def _middle(norms: Sequence[float]) -> float:
    """Their median by ratios, as they are compared: by means, of 1, 3 and 90 it is 1 that would be off by most."""
    known = sorted(norms)
    low, high = known[(len(known) - 1) // 2], known[len(known) // 2]
    return low if low == high else math.sqrt(low) * math.sqrt(high)


def laggard(waits: Sequence[float], ratio: float) -> tuple[int, float] | None:
    """(rank, share of a step) of the rank that the median of the others waits for longer than it waits."""
    if len(waits) < 2 or not all(math.isfinite(wait) for wait in waits):
        return None
    rank = min(range(len(waits)), key=waits.__getitem__)
    excess = median(w for r, w in enumerate(waits) if r != rank) - waits[rank]
    return (rank, excess) if excess >= ratio else None


def _times(value: float, usual: float) -> float:
    """How many times `value` is above or below `usual`, both norms above 0; infinite when it is not finite."""
    if not math.isfinite(value):
        return math.inf
    return max(value / usual, usual / value)


@dataclasses.dataclass(eq=False, repr=False)
class _Run:
    """How often in a row one signal named one rank."""

    rank: int | None = None
    length: int = 0

    def follow(self, found: tuple[int, float] | None) -> int:
        """Take the newest sample; the number of samples in a row that name its rank, or none as it does."""
        rank = None if found is None else found[0]
        self.length = self.length + 1 if rank == self.rank else 1
        self.rank = rank
        return self.length


class RankDivergence(Detector[thresholds.RankDivergence, None]):
    """Reads what rank 0 says of all; for ranks that nobody compares, their step counters."""

    rule = Rule.RANK_DIVERGENCE
    feeds_on = ("peers",)

    def __init__(self, limits: thresholds.RankDivergence, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._newest: tuple[int, int] | None = None  # step and groups of the last comparison taken
        self._norms: list[collections.deque[float]] = []
        self._gradient, self._wait = _Run(), _Run()
        self._skewed: dict[int, float] = {}  # rank → since when, monotonic
        self._cause = ""  # the signal behind the active finding

    # -- what the ranks compared -------------------------------------------------------------------------------

    def feed(self, sample: StepSample) -> None:
        """Take a comparison; the same one may come with many reports."""
        peers = sample.peers
        if peers is None or (peers.step, len(peers.groups)) == self._newest:
            return
        self._newest = (peers.step, len(peers.groups))
        if len(peers.groups) > 1:
            self._disagree(peers)
            return
        self._settle("weights", f"all ranks agree again at step {peers.step}")
        self._compare_norms(peers)
        self._compare_waits(peers)

    def _disagree(self, peers: Peers) -> None:
        found = vote(peers.groups, self._deviations(peers))
        agreed = (
            "never agreed" if peers.agreed_step is None else f"agreed at step {peers.agreed_step}"
        )
        where = (
            "" if peers.differs == "step counter" else f", first in {peers.differs or 'weights'}"
        )
        what = "step counters" if peers.differs == "step counter" else "weights"
        evidence = (
            f"{what} differ at step {peers.step}{where}; {_sides(peers, found)}; they {agreed}; "
            f"{_verdict(found)}"
        )
        self._cause = "weights"
        self._exceed(
            evidence,
            self._limits.on_exceeded,
            step=peers.step,
            rank=found.suspect,
        )

    def _deviations(self, peers: Peers) -> list[float]:
        """By rank: how many times its newest norm is off its own history."""
        if any(len(history) < ENOUGH for history in self._norms):
            return []
        newest = peers.gradient_norms or [history[-1] for history in self._norms]
        # 0 is an empty batch, which is off nobody's history; before the first sample there is none.
        return [
            _times(norm, median(history)) if norm else 1.0
            for norm, history in zip(newest, self._norms, strict=False)
        ]

    # -- warnings ----------------------------------------------------------------------------------------------

    def _compare_norms(self, peers: Peers) -> None:
        norms = peers.gradient_norms
        if not norms:
            return
        if len(self._norms) != len(norms):
            self._norms = [collections.deque(maxlen=HISTORY) for _ in norms]
        for history, norm in zip(self._norms, norms, strict=True):
            if math.isfinite(norm) and norm > 0.0:
                history.append(norm)
        found = outlier(norms, float(self._limits.gradient_factor))
        times = self._gradient.follow(found)
        if found is None:
            self._settle("gradient", f"gradient norms are alike at step {peers.step}")
        elif times >= self._limits.for_samples:
            rank, ratio = found
            evidence = (
                f"rank {rank}'s own gradient norm {norms[rank]:.3g} is {ratio:.3g} times off its peers' in "
                f"{times} samples in a row up to step {peers.step}, threshold {self._limits.gradient_factor}"
            )
            self._tell("gradient", evidence, peers.step, rank)

    def _compare_waits(self, peers: Peers) -> None:
        if not peers.wait_ratios:
            return
        found = laggard(peers.wait_ratios, float(self._limits.wait_ratio))
        times = self._wait.follow(found)
        if found is None:
            self._settle("wait", f"nobody waits for one rank at step {peers.step}")
        elif times >= self._limits.for_samples:
            rank, excess = found
            evidence = (
                f"rank {rank} holds the others up: they wait {excess:.0%} of a step longer than it does, in "
                f"{times} samples in a row up to step {peers.step}, threshold {float(self._limits.wait_ratio):.0%}"
            )
            self._tell("wait", evidence, peers.step, rank)

    def tick(self, now: float, ranks: Sequence[RankRow]) -> None:
        """Step counters of ranks in training, for scripts whose ranks nobody compares."""
        rows = [
            (row.rank, row.step)
            for row in ranks
            if row.step is not None and row.phase is Phase.TRAINING and row.exit_code is None
        ]
        steps = sorted(step for _, step in rows)
        # Of two the one behind is off.
        usual = steps[(len(steps) - 1) // 2] if len(steps) > 2 else max(steps, default=0)
        limit = self._limits.skew_steps
        off = [(rank, step) for rank, step in rows if abs(step - usual) > limit]
        self._skewed = {rank: self._skewed.get(rank, now) for rank, _ in off}
        lasting = [(r, s) for r, s in off if now - self._skewed[r] >= SKEW_SECONDS]
        if lasting:
            rank, step = max(lasting, key=lambda pair: abs(pair[1] - usual))
            evidence = (
                f"rank {rank} is at step {step}, its peers at {usual}, for {SKEW_SECONDS:.0f} s and more; "
                f"threshold {limit} steps"
            )
            self._tell("skew", evidence, step, rank)
        elif not off:
            self._settle("skew", "step counters are together")

    def _tell(self, signal: str, evidence: str, step: int, rank: int) -> None:
        """Warn, unless a graver or an earlier signal has the finding."""
        if self._cause not in ("", signal):
            return
        if self.active and self.finding is not None and self.finding.rank == rank:
            return  # said already: numbers that change at each sample are no news
        self._cause = signal
        self._warn(evidence, step=step, rank=rank)

    def _settle(self, signal: str, how: str) -> None:
        if self._cause == signal:
            self._heal(how)
            self._cause = ""


def _sides(peers: Peers, found: Vote) -> str:
    """`rank 2 against 3 ranks`, or every group."""
    if found.majority:
        return f"{_names(found.suspects)} against {found.majority} others"
    return " against ".join(_names(group) for group in peers.groups[:NAMED])


def _verdict(found: Vote) -> str:
    if found.suspect is not None:
        by = "outvoted" if found.majority and len(found.suspects) == 1 else (
            "suspected, for its own gradient norm left its history"
        )  # fmt: skip
        return f"rank {found.suspect} is {by}"
    if found.majority:
        return "several ranks are off, so no node is left out"
    return (
        "without a majority they cannot vote, and no gradient norm is off, so no node is left out"
    )


def _names(ranks: Sequence[int]) -> str:
    shown = ", ".join(str(rank) for rank in ranks[:NAMED])
    more = f" and {len(ranks) - NAMED} more" if len(ranks) > NAMED else ""
    return f"{'rank' if len(ranks) == 1 else 'ranks'} {shown}{more}"
