"""A rise within the first reports that stays, told by LossSpike as a warning."""

from __future__ import annotations

import math
from typing import Any

import pytest

from speech_contract.findings import FindingStatus
from speech_contract.progress import Rule, Severity
from speech_health.samples import from_fields

AT_ONCE = [1.6, 11.8, 11.6, *[10.4, 10.37, 10.39, 10.36] * 8]
THIRD = [1.4, 1.35, 6.4, *[4.6, 4.65, 4.58, 4.62] * 8]


def feed(run: Any, losses: list[float], first: int = 1) -> None:
    for step, loss in enumerate(losses, start=first):
        run.step(step, loss=loss)


@pytest.mark.parametrize(("losses", "since"), [(AT_ONCE, 2), (THIRD, 3)])
def test_what_stays_up_is_a_warning_and_no_more(run: Any, losses: list[float], since: int) -> None:
    feed(run, losses[: since + 28])
    assert run.alarms == []
    feed(run, losses[since + 28 : since + 29], since + 29)
    assert run.alarms == [Rule.LOSS_SPIKE]
    feed(run, losses[since + 29 :], since + 30)
    finding = run.finding(Rule.LOSS_SPIKE)
    assert (finding.severity, finding.step) == (Severity.WARNING, since)
    assert f"at step {since}, within the first 10 reports" in finding.evidence
    assert "(30 reports)" in finding.evidence
    assert finding.status is FindingStatus.ACTIVE
    assert run.monitor.decision is None


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([1.6] * 10 + [4.2] * 30, True),
        ([1.6] * 11 + [4.2] * 30, False),  # there is a baseline by then
        ([1.6] + [4.0] * 30, True),  # 2.5 times
        ([1.6] + [3.99] * 30, False),
        ([0.1] + [0.4] * 30, True),
        ([0.09] + [0.4] * 30, False),  # next to nothing: it can only rise
        ([2.0, 6.0] + [4.4] * 29, True),  # still 0.8 of the way up
        ([2.0, 6.0] + [4.39] * 29, False),
        ([2.0] + [10.0] * 20 + [8.0] * 10, True),  # 0.8 of what it rose to
        ([2.0] + [10.0] * 20 + [7.99] * 10, False),
        ([2.0] + [12.0] * 4 + [10.0] * 16 + [9.0] * 10, True),  # a third is ten of them
        # One report more would lift the last third; it was judged at the thirtieth.
        ([2.0] + [10.0] * 20 + [7.9] * 5 + [8.0] * 25, False),
    ],
)
def test_a_rise_is_early_steep_from_somewhere_and_lasts(
    run: Any, losses: list[float], told: bool
) -> None:
    feed(run, losses)
    assert (run.finding(Rule.LOSS_SPIKE) is not None) is told


@pytest.mark.parametrize(("reports", "told"), [(7, True), (6, False)])
def test_a_run_that_ended_on_it_needs_fewer_reports(run: Any, reports: int, told: bool) -> None:
    feed(run, AT_ONCE[:reports])
    assert run.alarms == []
    run.monitor.finish(run.now, 0)
    assert (run.alarms == [Rule.LOSS_SPIKE]) is told


def test_a_run_that_failed_has_other_causes(run: Any) -> None:
    feed(run, AT_ONCE[:12])
    run.monitor.finish(run.now, 1)
    assert run.alarms == []


def test_it_heals_when_it_comes_down(run: Any) -> None:
    feed(run, AT_ONCE)
    for step in range(40, 43):
        run.step(step, loss=1.5)
    assert run.finding(Rule.LOSS_SPIKE).status is FindingStatus.HEALED


@pytest.mark.parametrize(
    "losses",
    [
        [1.6, 11.8, *[11.0 * math.exp(-i / 40) for i in range(60)]],  # it falls again
        [1.6, 3.7, *[3.5, 3.6] * 20],  # no 2.5 times
        [0.01, 0.4, *[0.4, 0.41] * 20],  # an objective that starts from nothing
        [1.6, 11.8, 11.6, 1.7, 1.5, *[1.4, 1.5] * 20],  # a bad batch
    ],
)
def test_a_start_that_looks_worse_than_it_is(run: Any, losses: list[float]) -> None:
    feed(run, losses)
    run.monitor.finish(run.now, 0)
    assert run.alarms == []


def test_once_it_was_judged_calm_reports_are_not_looked_at_one_by_one(run: Any) -> None:
    feed(
        run,
        [2.0, *[10.0 - step % 3 for step in range(20)], *[7.0 - step / 99 for step in range(20)]],
    )
    told = {"time": 0.0, "now": 50.0, "rank": 0}
    batch = [
        from_fields({**told, "step": 50 + i, "losses": {"loss": 6.8 - i / 99}}) for i in range(20)
    ]
    assert list(run.monitor.feed_batch(batch)) == []


@pytest.mark.parametrize("beside", [{"reward": 0.4}, {"reward_spread": 0.1}, {"stands": "loss"}])
def test_policies_and_columns_that_stand_for_the_loss_are_not_judged(
    run: Any, beside: dict[str, Any]
) -> None:
    for step, loss in enumerate(AT_ONCE, start=1):
        run.step(step, losses={"loss": loss, "mel": loss / 2}, **beside)
    run.monitor.finish(run.now, 0)
    assert run.alarms == []


@pytest.mark.parametrize("name", ["loss_d", "critic_loss", "kl", "vq_loss", "discriminator/loss"])
def test_an_adversary_or_a_prior_beside_it_is_not_judged(run: Any, name: str) -> None:
    for step, loss in enumerate(AT_ONCE, start=1):
        run.step(step, losses={"loss": loss, name: 1.0 + step / 9})
    run.monitor.finish(run.now, 0)
    assert run.alarms == []
