"""The master's judgement: what it logs once, what it shows, and what a worker's summary adds."""

from __future__ import annotations

import io
import json

import pytest

from speech_contract import codec
from speech_contract.findings import Verdict
from speech_contract.outcome import EXIT_NOT_LEARNING, EXIT_RANK_DISAGREES
from speech_contract.phases import Phase
from speech_contract.progress import Rule
from speech_contract.report import Memory, Peers
from speech_contract.thresholds import Thresholds, ZeroLoss
from speech_contract.wire import Datagram, RankSummary, Summary
from speech_telemetry.board import Board
from speech_telemetry.judge import Judge
from speech_telemetry.logs import EventLog


class Clock:
    """A clock that moves when told."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def stream():
    return io.StringIO()


@pytest.fixture
def judge(launcher, clock, stream):
    config = launcher.config(nodes=2, health=Thresholds(zero_loss=ZeroLoss(for_steps=3)))
    log = EventLog("supervisor", stream, clock)
    opened = Judge(config, {0: 0, 1: 1}, Board(1, clock), log, clock, clock)
    opened.start()
    return opened


def logged(stream):
    return [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def take_steps(judge, clock, steps, loss, rank=0):
    for step in steps:
        clock.now += 1.0
        judge.take_datagram(Datagram(rank, step, clock.now, losses={"loss": loss}), rank)


def test_before_the_ranks_start_nothing_is_judged(launcher, clock, stream):
    judge = Judge(
        launcher.config(), {0: 0}, Board(1, clock), EventLog("s", stream, clock), clock, clock
    )
    judge.tick({}, 0)
    assert (judge.decision, judge.verdict, judge.findings) == (None, Verdict.UNKNOWN, [])
    assert judge.board.progress.phase is Phase.RENDEZVOUS
    assert judge.finish(0) is None


def test_a_finding_is_logged_once_and_shown(judge, clock, stream):
    take_steps(judge, clock, range(1, 8), 0.0)
    for _ in range(3):
        judge.tick({}, 0)
    assert logged(stream) == ["finding_raised"]
    assert judge.decision.exit_code == EXIT_NOT_LEARNING
    assert judge.board.progress.verdict is Verdict.CRITICAL


def test_a_note_becomes_evidence_everywhere(judge, clock):
    take_steps(judge, clock, range(1, 8), 0.0)
    judge.note(Rule.ZERO_LOSS, "seen at train.py:3")
    judge.publish()
    assert judge.findings[0].evidence.endswith("; seen at train.py:3")
    assert judge.board.progress.findings == judge.findings


def test_a_workers_newest_report_is_judged_once(judge, clock):
    take_steps(judge, clock, [1], 1.0)
    report = Datagram(1, 6, clock.now, non_finite_steps=1, bad_step=5, losses={"loss": 1.0})
    rank = RankSummary(1, 6, Phase.TRAINING, 0.5, True, newest=report)
    summary = Summary(1, 1, "p", "n", [rank])
    for _ in range(2):
        judge.take_summary(summary)
    judge.tick({}, 0)
    progress = judge.board.progress
    assert progress.running
    assert [(row.rank, row.node_rank, row.step) for row in progress.ranks] == [(0, 0, 1), (1, 1, 6)]
    assert [finding.rule for finding in progress.findings] == [Rule.NON_FINITE]


def test_a_workers_nan_is_counted_once_though_it_is_told_again_each_second(judge, clock):
    """NaN is not equal to NaN: compared whole, each summary looked like another report."""
    report = Datagram(1, 6, clock.now, losses={"loss": float("nan")})
    rank = RankSummary(1, 6, Phase.TRAINING, 0.5, True, newest=report)
    sent = codec.dumps(Summary(1, 1, "p", "n", [rank]))
    for _ in range(3):
        judge.take_summary(codec.loads(Summary, sent))
        judge.tick({}, 0)
    (told,) = (
        line
        for line in judge.exporter.render().decode().splitlines()
        if line.startswith('speech_training_nonfinite_steps_total{kind="loss"}')
    )
    assert float(told.split()[1]) == 1.0


def test_memory_of_every_host_is_shown_and_judged(judge, clock):
    take_steps(judge, clock, [1], 1.0)
    gib = 2**30
    for reading in range(60):
        clock.now += 5.0
        leak = reading * 256 * 2**20
        judge.take_memory(0, Memory(gib, 20 * gib))
        own = Memory(gib + leak, 20 * gib - leak)
        judge.take_summary(
            Summary(1, 1, "w", "n", [RankSummary(1, 1, Phase.TRAINING, 0.1, True)], memory=own)
        )
    judge.publish()
    assert judge.board.progress.memory["0"] == Memory(gib, 20 * gib)
    assert judge.board.progress.memory["1"].used == gib + 59 * 256 * 2**20
    assert [finding.rule for finding in judge.findings] == [Rule.MEMORY_GROWTH]
    assert "on host 1 grew" in judge.findings[0].evidence


def test_phase_records_set_the_phase_and_its_age(judge, clock):
    judge.tick({0: (0, Phase.DATA, 0.2)}, 0)
    since = clock.now
    clock.now += 3.0
    judge.tick({0: (0, Phase.DATA, 3.2)}, 0)
    shown = judge.board.progress
    assert (shown.phase, shown.phase_since) == (Phase.DATA, since)
    judge.publish(done=True)
    assert (judge.board.progress.phase, judge.board.progress.done) == (Phase.DONE, True)


def test_metrics_follow(judge, clock):
    take_steps(judge, clock, range(1, 3), 0.5)
    judge.tick({}, 0)
    assert b'speech_training_loss{name="loss"} 0.5' in judge.exporter.render()


def test_a_rank_that_is_off_is_named_with_pod_and_node(judge, clock):
    judge.place(0, "job-master-0", "node-a")
    rank = RankSummary(1, 6, Phase.TRAINING, 0.5, True)
    judge.take_summary(Summary(1, 1, "job-worker-0", "node-b", [rank]))
    for step in (100, 200, 300):
        alike = Peers(step, [[0, 1]], step, gradient_norms=[1.0, 1.0])
        judge.take_datagram(Datagram(0, step, clock.now, peers=alike), 0)
    off = Peers(400, [[0], [1]], 300, "decoder", gradient_norms=[1.0, 90.0])
    judge.take_datagram(Datagram(0, 400, clock.now, peers=off), 0)
    (finding,) = judge.findings
    assert finding.evidence.endswith("; rank 1: pod job-worker-0, node node-b")
    assert judge.decision.exit_code == EXIT_RANK_DISAGREES


def test_ranks_that_cannot_vote_are_all_named_with_their_nodes(judge, clock):
    judge.place(0, "job-master-0", "node-a")
    judge.place(1, "job-worker-0", "node-b")
    judge.take_datagram(Datagram(0, 100, clock.now, peers=Peers(100, [[0], [1]])), 0)
    (finding,) = judge.findings
    assert finding.rank is None
    for words in ("rank 0: pod job-master-0, node node-a", "rank 1: pod job-worker-0, node node-b"):
        assert words in finding.evidence


def test_a_script_that_names_losses_after_its_batches_fills_no_server(judge, clock, stream):
    for step in range(300):
        clock.now += 1.0
        judge.take_datagram(Datagram(0, step, clock.now, losses={"loss": 2.0, f"u{step}": 2.0}), 0)
        judge.publish()
    series = [line for line in judge.exporter.render().decode().splitlines() if "_loss{" in line]
    assert len(series) <= 65
    assert logged(stream).count("names_folded") == 1
    said = "too many names of losses (from 'u63' on): not judged by name; give each one name"
    assert said in str(judge.board.progress.reads)
    clock.now += 1.0
    judge.take_datagram(Datagram(0, 300, clock.now, losses={"loss": 2.0, "u300": float("nan")}), 0)
    assert Rule.NON_FINITE in [finding.rule for finding in judge.findings]
