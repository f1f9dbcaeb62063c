"""Rule MemoryGrowth: the ranks' memory on a host grows steadily and will not last.

The mark of a loss that is added up with its graph, of a list that keeps every batch, of a logger that forgets
nothing. Judged on three scales of time at once, each of BLOCKS blocks: the least memory of every block has to lie
above that of the block before. Saw-teeth that come back down, one-time jumps and caches that fill up are none.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator

from speech_contract import thresholds
from speech_contract.report import Memory
from speech_contract.rules import Rule
from speech_health.detector import Attempt, Detector
from speech_health.samples import StepSample
from speech_health.stretch import Stretch

SCALES = (1, 6, 36)  # times windowSeconds
BLOCKS = 6  # of a window
EVENLY = 0.25  # of the mean rise: what every block has to rise by
LEAST = 64 << 20  # bytes: less growth than this over a window is noise
LEVEL = 2  # blocks without growth that heal


@dataclasses.dataclass(eq=False, repr=False)
class _Scale:
    """One host on one scale of time."""

    seconds: float  # of a block
    ends: float | None = None  # of the block that runs now
    least: int = 0  # memory in it
    blocks: collections.deque[int] = dataclasses.field(
        default_factory=lambda: collections.deque(maxlen=BLOCKS)
    )
    raised: bool = False

    def take(self, now: float, used: int) -> bool:
        """True when a block is complete."""
        if self.ends is None or now >= self.ends + self.seconds:
            # The first one, or after a silence.
            self.ends, self.least = now + self.seconds, used
            self.blocks.clear()
            return False
        complete = now >= self.ends
        if complete:
            self.blocks.append(self.least)
            self.ends, self.least = self.ends + self.seconds, used
        self.least = min(self.least, used)
        return complete

    @property
    def growth(self) -> int:
        """Bytes over the whole window; 0 unless it rose evenly."""
        blocks = list(self.blocks)
        whole = blocks[-1] - blocks[0]
        if len(blocks) < BLOCKS or whole < LEAST:
            return 0
        rises = [late - early for early, late in itertools.pairwise(blocks)]
        return whole if min(rises) >= EVENLY * whole / len(rises) else 0

    @property
    def level(self) -> bool:
        """It has stopped growing."""
        blocks = list(self.blocks)
        return len(blocks) > LEVEL and blocks[-1] <= blocks[-1 - LEVEL]


class MemoryGrowth(Detector[thresholds.MemoryGrowth, None]):
    """Warns once growth over a window has taken `share` of the room that is left."""

    rule = Rule.MEMORY_GROWTH

    def __init__(self, limits: thresholds.MemoryGrowth, attempt: Attempt) -> None:
        super().__init__(limits, attempt)
        self._share = float(limits.share)
        self._window = float(limits.window_seconds)
        self._settled: float | None = None  # when start-up's own growth is over
        self._hosts: dict[int, list[_Scale]] = {}
        self._total: int | None = None
        self._first: tuple[float, int] | None = None  # when and at which step it was first heard
        self._newest: tuple[float, int] = (0.0, 0)

    def feed(self, sample: StepSample) -> None:
        """Learn how long the run will take: a leak that outlasts it is none of anyone's business."""
        if sample.plan is not None:
            self._total = sample.plan.total_steps
        if self._first is None or sample.step < self._newest[1]:
            self._first = (sample.now, sample.step)
        self._newest = (sample.now, sample.step)

    def pass_over(self, stretch: Stretch) -> bool:
        """The first and the newest report are all that counts."""
        self.feed(stretch.first)
        self.feed(stretch.last)
        return True

    def observe(self, now: float, host: int, memory: Memory) -> None:
        """One reading of one host's ranks. `now` monotonic."""
        if not self._pace.sampled:
            return
        if self._settled is None:
            self._settled = now + self._window
        if now < self._settled:
            return
        for scale in self._hosts.setdefault(host, list(self._scales())):
            if scale.take(now, memory.used):
                self._judge(scale, host, memory)

    def _scales(self) -> Iterator[_Scale]:
        return (_Scale(self._window * times / BLOCKS) for times in SCALES)

    def _judge(self, scale: _Scale, host: int, memory: Memory) -> None:
        growth, room = scale.growth, max(1, memory.room)
        if growth >= self._share * room:
            seconds = scale.seconds * (BLOCKS - 1)
            left = room / growth * seconds
            if self._remaining() < left:
                return
            scale.raised = True
            self._warn(
                f"memory of the ranks on host {host} grew by {_size(growth)} in {_time(seconds)} to "
                f"{_size(memory.used)}; the {_size(room)} that are left last for about {_time(left)}",
                step=self._newest[1],
            )
        elif scale.raised and scale.level:
            scale.raised = False
            if not any(one.raised for scales in self._hosts.values() for one in scales):
                self._heal(f"{_size(memory.used)}, no longer growing")

    def _remaining(self) -> float:
        """Seconds to the end of the run; infinite where nobody said how long it is."""
        if self._total is None or self._first is None:
            return float("inf")
        (began, first), (now, step) = self._first, self._newest
        if step <= first or now <= began:
            return float("inf")
        return max(0, self._total - step) * (now - began) / (step - first)


def _size(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def _time(seconds: float) -> str:
    if seconds >= 5400:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
