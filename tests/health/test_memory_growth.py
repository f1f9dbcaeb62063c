"""MemoryGrowth: leaks told with the time that is left; saw-teeth, jumps and full caches left alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_contract.report import Memory, Plan
from speech_contract.thresholds import HealthMode, MemoryGrowth
from speech_health.samples import from_fields

quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GIB = 2**30
LIMIT = 16 * GIB


class Host:
    """One host with a limit, read every five seconds; time is the run's own."""

    def __init__(self, run: Any, node: int = 0, limit: float = LIMIT) -> None:
        self.run, self.node, self.limit = run, node, limit
        self.began = run.now

    def live(self, seconds: float, used: Callable[[float], float]) -> float | None:
        """Read for `seconds`; the time of the first warning, from the start of this call."""
        start = self.run.now
        while self.run.now - start < seconds:
            self.run.now += 5.0
            at = self.run.now - start
            held = int(used(at))
            room = int(self.limit - held)
            if room <= 0:
                return None
            self.run.monitor.observe_memory(self.run.now, self.node, Memory(held, room))
            finding = self.run.finding(Rule.MEMORY_GROWTH)
            if finding is not None and finding.status is FindingStatus.ACTIVE:
                return float(at)
        return None


@pytest.fixture
def host(run: Any) -> Host:
    """A host whose ranks have taken their first step."""
    run.step(1, loss=1.0)
    return Host(run)


def test_a_fast_leak_is_told_with_the_time_that_is_left(host: Host) -> None:
    at = host.live(600, lambda t: 2 * GIB + t * 40 * 2**20)
    assert at is not None
    assert at <= 300
    finding = host.run.finding(Rule.MEMORY_GROWTH)
    assert finding.severity is Severity.WARNING
    assert "memory of the ranks on host 0 grew by" in finding.evidence
    assert "last for about" in finding.evidence


def test_a_slow_leak_is_told_hours_before_the_end(host: Host) -> None:
    slope = 10 * GIB / (12 * 3600)
    at = host.live(12 * 3600, lambda t: 4 * GIB + t * slope)
    assert at is not None
    assert 14 * GIB / slope - at > 0
    assert (12 * GIB / slope) - at > 2 * 3600


def test_it_heals_when_the_cache_is_full(host: Host) -> None:
    assert host.live(600, lambda t: 2 * GIB + t * 30 * 2**20) is not None
    held = host.run.monitor
    for _ in range(40):
        host.run.now += 5.0
        held.observe_memory(host.run.now, 0, Memory(12 * GIB, 4 * GIB))
    assert host.run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.HEALED


def test_a_leak_that_slows_down_has_not_healed(host: Host) -> None:
    assert host.live(600, lambda t: 2 * GIB + t * 30 * 2**20) is not None
    for number in range(120):
        host.run.now += 5.0
        used = 12 * GIB + number * 2**20
        host.run.monitor.observe_memory(host.run.now, 0, Memory(used, LIMIT - used))
    assert host.run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.ACTIVE


def read(run: Any, used: Sequence[float], room: float, apart: float = 10.0, node: int = 0) -> None:
    """Readings `apart` seconds from each other, in MiB; nothing is judged before the 60 s of start-up are over."""
    if run.now < 60.0:
        if run.now == 0.0:
            run.step(1, loss=1.0, after=0.0)
        run.monitor.observe_memory(0.0, node, Memory(0, 0))
        run.now = 60.0 - apart
    for held in used:
        run.now += apart
        run.monitor.observe_memory(run.now, node, Memory(int(held * 2**20), int(room * 2**20)))


def rising(blocks: int, by: float = 100.0) -> list[float]:
    """The least memory of so many blocks and of one that has just begun."""
    return [1000 + by * block for block in range(blocks + 1)]


@pytest.mark.parametrize(
    ("apart", "by", "room", "told"),
    [
        (10.0, 100, 2500, "by 500 MiB in 50 s to 1.6 GiB; the 2.4 GiB that are left last for about 4 min"),
        (10.0, 100, 2501, None),  # less than a fifth of the room
        (10.0, 100, 1200, "the 1.2 GiB that are left last for about 2 min"),
        (10.0, 100, 1190, "the 1.2 GiB that are left last for about 119 s"),
        (10.0, 100, 1024, "the 1.0 GiB that are left"),
        (10.0, 100, 1023, "the 1023 MiB that are left"),
        (10.0, 12.8, 9, "by 64 MiB in 50 s"),
        (10.0, 12.6, 9, None),  # noise
        (60.0, 100, 1023, "by 500 MiB in 5 min"),  # six times as slow
        (360.0, 360, 5400, "by 1.8 GiB in 30 min to 3.1 GiB; the 5.3 GiB that are left last for about 1.5 h"),
        (360.0, 360, 5399, "last for about 90 min"),
        (720.0, 360, 10, None),  # slower than any scale
    ],
)  # fmt: skip
def test_six_blocks_that_rise_are_told_on_any_scale(
    run: Any, apart: float, by: float, room: float, told: str | None
) -> None:
    read(run, rising(6, by)[:-1], room, apart)
    assert run.rules == []
    read(run, rising(6, by)[-1:], room, apart)
    finding = run.finding(Rule.MEMORY_GROWTH)
    assert told is None if finding is None else told is not None and told in finding.evidence


@pytest.mark.parametrize(
    ("rises", "told"),
    [
        ([119, 25, 119, 119, 118], True),  # a quarter of the mean
        ([119, 24, 119, 119, 119], False),
        ([0, 500, 0, 0, 0], False),
    ],
)
def test_every_block_rises_by_a_quarter_of_the_mean_at_least(
    run: Any, rises: list[int], told: bool
) -> None:
    read(run, [1000 + sum(rises[:block]) for block in range(6)] + [2000], 0.0)
    assert (run.finding(Rule.MEMORY_GROWTH) is not None) is told


@pytest.mark.parametrize("room", [0.0, 2**-20], ids=["none", "one byte"])
def test_memory_that_is_full_and_does_not_grow_is_none(run: Any, room: float) -> None:
    read(run, [4000] * 20, room)
    assert run.rules == []


@pytest.mark.parametrize(("silence", "told"), [(19.9, True), (20.0, False)])
def test_a_block_without_a_reading_starts_over(run: Any, silence: float, told: bool) -> None:
    read(run, rising(6)[:3], 1000)
    read(run, rising(6)[3:4], 1000, silence)
    read(run, rising(7)[4:], 1000)
    assert (run.finding(Rule.MEMORY_GROWTH) is not None) is told


def test_after_a_silence_levels_are_those_behind_it(run: Any) -> None:
    read(run, rising(6), 1000)
    read(run, [2000, 2000, 2000], 1000, 20.0)
    read(run, [2000, 2000], 1000)
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.ACTIVE
    read(run, [2000], 1000)
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.HEALED


def test_it_heals_when_a_block_is_no_higher_than_the_second_before_it(run: Any) -> None:
    read(run, [*rising(5), 1500, 1510], 1000)
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.ACTIVE
    read(run, [1500], 1000)
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.ACTIVE
    read(run, [1500], 1000)
    finding = run.finding(Rule.MEMORY_GROWTH)
    assert finding.status is FindingStatus.HEALED
    assert finding.evidence.endswith("; healed: 1.5 GiB, no longer growing")


def test_one_host_that_still_grows_keeps_it(run: Any) -> None:
    for block in range(20):
        read(run, [1000 + 100 * block], 1000)
        run.monitor.observe_memory(run.now, 1, Memory((1000 + 100 * min(block, 8)) * 2**20, 2**30))
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.ACTIVE
    for _ in range(4):
        read(run, [3000], 1000)
        run.monitor.observe_memory(run.now, 1, Memory(1800 * 2**20, 2**30))
    assert run.finding(Rule.MEMORY_GROWTH).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    "steps", [[(1, 0.0), (101, 100.0), (101, 5.0)], [(50, 0.0), (1, 500.0), (101, 100.0)]]
)
def test_the_pace_is_that_since_the_first_report_or_the_last_roll_back(
    run: Any, steps: list[tuple[int, float]]
) -> None:
    for step, after in steps:
        run.step(step, after=after, loss=1.0, plan=Plan(total_steps=200))
    began = run.now + 60.0  # 99 steps of about a second are left
    run.monitor.observe_memory(run.now, 0, Memory(0, 0))
    for block, held in enumerate(rising(6)):
        run.monitor.observe_memory(began + 10.0 * block, 0, Memory(int(held) * 2**20, 1200 * 2**20))
    assert run.finding(Rule.MEMORY_GROWTH) is None


def test_calm_reports_in_a_batch_are_passed_over(run: Any) -> None:
    for step in range(1, 101):
        run.step(step, after=0.5, loss=2.0 - step % 3 / 99)
    told = {"time": 0.0, "rank": 0}
    batch = [
        from_fields({**told, "now": step / 2, "step": step, "losses": {"loss": 2.0 - step / 999}})
        for step in range(101, 119)
    ]
    assert list(run.monitor.feed_batch(batch)) == []
    read(run, rising(6), 1000)
    assert run.finding(Rule.MEMORY_GROWTH).step == 118


SOUND: dict[str, Callable[[float], float]] = {
    "flat": lambda t: 4 * GIB,
    "start-up": lambda t: min(10 * GIB, 1 * GIB + t * 150 * 2**20),
    "allocator": lambda t: 8 * GIB * (1 - math.exp(-t / 30)),
    "saw-tooth of 20 s": lambda t: 4 * GIB + (t % 20) * 300 * 2**20,
    "saw-tooth of 100 s": lambda t: 4 * GIB + (t % 100) * 20 * 2**20,
    "one jump at the first evaluation": lambda t: (4 if t < 400 else 10) * GIB,
    "evaluation pauses": lambda t: (4 + 6 * (t % 900 > 800)) * GIB,
    "slow drift that stays small": lambda t: 4 * GIB + t * 10 * 2**10,
    "noise": lambda t: 4 * GIB + 2 * GIB * math.sin(t * 12.9898) ** 2,
}


@pytest.mark.parametrize("name", SOUND)
def test_what_is_no_leak(host: Host, name: str) -> None:
    assert host.live(4 * 3600, SOUND[name]) is None


def test_before_the_first_step_memory_may_grow_as_it_likes(run: Any) -> None:
    assert Host(run).live(3600, lambda t: t * 4 * 2**20) is None


def test_a_run_that_ends_before_its_memory_is_left_alone(run: Any) -> None:
    run.step(1, loss=1.0, plan=Plan(total_steps=400))
    run.step(101, loss=1.0, after=100.0)  # 300 s are left
    assert Host(run).live(250, lambda t: 4 * GIB + t * 10 * 2**20) is None


def test_a_run_whose_end_nobody_knows_may_end_late(run: Any) -> None:
    run.step(1, loss=1.0)
    run.step(101, loss=1.0, after=100.0)
    assert Host(run).live(600, lambda t: 4 * GIB + t * 10 * 2**20) is not None


def test_each_host_is_judged_by_itself(run: Any) -> None:
    run.step(1, loss=1.0)
    for tick in range(120):
        run.now += 5.0
        leak = tick * 5 * 40 * 2**20
        run.monitor.observe_memory(run.now, 0, Memory(4 * GIB, 12 * GIB))
        run.monitor.observe_memory(run.now, 1, Memory(4 * GIB + leak, max(0, 12 * GIB - leak)))
    assert "on host 1 grew" in run.finding(Rule.MEMORY_GROWTH).evidence


def test_a_silence_starts_over(host: Host) -> None:
    assert host.live(90, lambda t: 4 * GIB + t * 40 * 2**20) is None
    host.run.now += 1000.0
    assert host.live(40, lambda t: 9 * GIB) is None


def test_off_judges_nothing(run_with: Callable[..., Any]) -> None:
    run = run_with(mode=HealthMode.OFF)
    run.step(1, loss=1.0)
    assert Host(run).live(600, lambda t: 2 * GIB + t * 30 * 2**20) is None


@quick
@given(
    readings=st.lists(st.integers(0, 4 * GIB), min_size=1, max_size=150),
    window=st.integers(30, 900),
)
def test_never_while_growth_is_below_its_share(
    run_with: Callable[..., Any], readings: list[int], window: int
) -> None:
    run = run_with(memory_growth=MemoryGrowth(window_seconds=window))
    run.step(1, loss=1.0)
    for used in sorted(readings):
        run.now += 5.0
        run.monitor.observe_memory(run.now, 0, Memory(used, 20 * GIB + 1))
    assert run.finding(Rule.MEMORY_GROWTH) is None


@quick
@given(
    before=st.integers(0, 2000),
    lasts=st.floats(700.0, 40_000.0),
    start=st.floats(0.5, 8.0),
)
def test_a_steady_leak_is_always_told_while_time_is_left(
    run_with: Callable[..., Any], before: int, lasts: float, start: float
) -> None:
    run = run_with()
    run.step(1, loss=1.0)
    host = Host(run)
    assert host.live(before, lambda t: start * GIB) is None
    slope = (LIMIT - start * GIB) / lasts
    at = host.live(lasts, lambda t: start * GIB + t * slope)
    assert at is not None
    # The window of the scale that fits, and the one that settles, are over by then.
    assert at <= lasts * 0.9


@pytest.mark.parametrize(
    ("total", "second_step_at", "told"),
    [
        (202, 1.0, True),  # 200 steps of a second are left, and memory for 200 s: not enough
        (201, 1.0, False),
        (102, 2.0, True),  # a hundred of two seconds
        (101, 2.0, False),
        (2, 300.0, False),  # the run is over, however long its steps were
    ],
)
def test_a_leak_is_told_when_it_will_not_outlast_the_run(
    run: Any, total: int, second_step_at: float, told: bool
) -> None:
    run.step(1, after=0.0, loss=1.0, plan=Plan(total))
    run.step(2, after=second_step_at, loss=1.0)
    mib = 2**20
    for block in range(16):  # a reading a block, each 100 MiB above the one before
        now = 1000.0 + 10.0 * block
        run.monitor.observe_memory(now, 0, Memory((1000 + 100 * block) * mib, 2000 * mib))
    assert (Rule.MEMORY_GROWTH in run.rules) is told
    if told:
        evidence = run.finding(Rule.MEMORY_GROWTH).evidence
        assert "grew by 500 MiB in 50 s" in evidence
        assert "the 2.0 GiB that are left last for about 3 min" in evidence


@pytest.mark.parametrize(("step", "after"), [(1, 5.0), (2, 0.0)], ids=["no step", "no time"])
def test_a_pace_that_cannot_be_told_leaves_the_run_without_an_end(
    run: Any, step: int, after: float
) -> None:
    run.step(1, loss=1.0, plan=Plan(total_steps=3))
    run.step(step, after=after, loss=1.0)
    assert Host(run).live(600, lambda t: 2 * GIB + t * 40 * 2**20) is not None
