"""Which format a run is read by, how often it told something, and what of it no rule can judge."""

from __future__ import annotations

from typing import Any

from speech_contract.report import Reads
from speech_health.hearing import Hearing
from speech_health.samples import Source, StepSample


def sample(step: int = 1, source: Source = Source.STDOUT, rank: int = 0, **more: Any) -> StepSample:
    return StepSample(time=0.0, now=0.0, rank=rank, step=step, source=source, **more)


def told(*samples: StepSample) -> Reads | None:
    hearing = Hearing()
    for one in samples:
        hearing.take(one)
    return hearing.told


def test_nothing_is_told_before_the_first_number() -> None:
    assert told() is None
    assert told(sample()) is None, "a step alone is no number"


def test_a_printed_format_is_named_with_its_reports() -> None:
    reads = told(*[sample(n, losses={"loss": 1.0}, form="progress bar", report=n) for n in (1, 2)])
    assert reads == Reads("progress bar", 2)
    assert str(reads) == "progress bar (stdout), 2 reports"


def test_losses_without_a_whole_one_are_named() -> None:
    reads = told(sample(losses={"d_loss": 1.0, "g_loss": 2.0}, form="RVC", report=1))
    assert str(reads) == (
        "RVC (stdout), 1 report; loss not recognised among d_loss, g_loss: spikes not judged"
    )


def test_one_whole_loss_is_enough() -> None:
    parts = sample(1, losses={"d_loss": 1.0}, form="RVC", report=1)
    whole = sample(2, losses={"loss": 1.0}, form="RVC", report=2)
    for order in ((parts, whole), (whole, parts)):
        reads = told(*order)
        assert reads is not None
        assert reads.gap == ""


def test_the_reporter_goes_before_stdout_and_the_lowest_rank_before_others() -> None:
    printed = sample(9, losses={"loss": 1.0}, form="progress bar", report=9)
    others = [sample(n, Source.REPORTER, rank=1, losses={"loss": 1.0}) for n in (1, 2, 3)]
    own = sample(1, Source.REPORTER, gradient_norm=1.0)
    assert str(told(printed, *others)) == "reporter, 3 reports"
    assert str(told(printed, *others, own, *others, printed)) == "reporter, 1 report"
