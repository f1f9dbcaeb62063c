"""Two pods on one machine: the handshake, one truth, and ending together."""

from __future__ import annotations

import dataclasses
import signal
from pathlib import Path

import pytest

from speech_contract import codec, paths
from speech_contract.outcome import EXIT_SUPERSEDED
from speech_contract.owner import Owner
from speech_contract.progress import Rule
from speech_contract.stated import LogPattern
from speech_contract.thresholds import OnExceeded, Stall, Thresholds
from speech_telemetry.files import create_text

pytestmark = pytest.mark.e2e


def start_both(launcher, config, *command):
    return [launcher.start(config, *command, node_rank=node) for node in (0, 1)]


def test_both_pods_run_and_the_master_sees_every_rank(launcher):
    config = launcher.config(nodes=2, ranks=2)
    master, worker = start_both(launcher, config, "steps.py", "60", "0.05")
    rows = master.wait_for(
        lambda: (p := master.progress()) is not None and p.running and p.ranks, "every rank"
    )
    assert [(row.rank, row.node_rank) for row in rows] == [(0, 0), (1, 0), (2, 1), (3, 1)]
    assert (master.wait(), worker.wait()) == (0, 0)


def test_no_rank_starts_before_all_pods_are_there(launcher):
    config = launcher.config(nodes=2)
    master = launcher.start(config, "steps.py", "3", "0")
    master.wait_for(
        lambda: (p := master.progress()) is not None and p.phase.value == "Rendezvous", "it"
    )
    assert not master.events("ranks_started")
    worker = launcher.start(config, "steps.py", "3", "0", node_rank=1)
    assert (master.wait(), worker.wait()) == (0, 0)
    assert master.events("ranks_started")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        pytest.param({"token": "0" * 32}, "the token is of another job or attempt", id="token"),
        pytest.param({"attempt": 2}, "is not this job's 1", id="attempt"),
        pytest.param({"ranks_per_node": 3}, "is not this job's 2", id="world size"),
    ],
)
def test_a_stray_worker_is_refused_until_it_gives_up(launcher, changes, sentence):
    health = Thresholds(stall=Stall(startup_seconds=2))
    config = launcher.config(nodes=2, health=health)
    stray = dataclasses.replace(config, **changes)
    patient = dataclasses.replace(config, health=Thresholds())
    master = launcher.start(patient, "steps.py", "3", "0")
    worker = launcher.start(stray, "steps.py", "3", "0", node_rank=1)
    assert worker.wait() == 45
    assert sentence in worker.outcome.message
    assert worker.outcome.exit_code == 45
    assert not master.events("ranks_started")
    master.process.send_signal(signal.SIGTERM)
    assert master.wait() == 75  # nothing ran: nothing is lost


def test_a_master_without_workers_gives_up_and_names_them(launcher):
    health = Thresholds(stall=Stall(startup_seconds=1))
    master = launcher.start(launcher.config(nodes=2, health=health), "steps.py", "3", "0")
    assert master.wait() == 45
    assert "the supervisors of nodes [1]" in master.outcome.message
    assert master.outcome.rule == Rule.STALLED.value


def test_a_rank_killed_on_the_worker_ends_both_with_its_code(launcher):
    config = launcher.config(nodes=2)
    master, worker = start_both(launcher, config, "steps.py", "10", "0.02", "1:kill")
    assert (master.wait(), worker.wait()) == (137, 137)
    assert (master.outcome.rank, master.outcome.exit_code) == (1, 137)


def test_a_rank_that_fails_on_the_master_stops_the_worker(launcher):
    config = launcher.config(nodes=2)
    master, worker = start_both(launcher, config, "steps.py", "10", "0.02", "0:exit40")
    assert (master.wait(), worker.wait()) == (40, 40)
    assert worker.outcome.message == "the master's supervisor ended the attempt"


def test_a_stall_on_the_worker_names_its_rank_and_python_line(launcher):
    health = Thresholds(stall=Stall(floor_seconds=4))
    config = launcher.config(nodes=2, health=health)
    master, worker = start_both(launcher, config, "steps.py", "10", "0.05", "1:sleep")
    assert (master.wait(), worker.wait()) == (45, 45)
    assert master.outcome.rank == 1
    assert "in barrier" in master.outcome.message


def test_sigterm_to_both_pods_saves_everywhere(launcher):
    config = launcher.config(nodes=2)
    both = start_both(launcher, config, "saves_on_sigterm.py", str(launcher.directory), "0.5")
    both[0].wait_for(lambda: (p := both[0].progress()) is not None and p.running, "both to run")
    for run in both:
        run.process.send_signal(signal.SIGTERM)
    assert [run.wait() for run in both] == [75, 75]
    assert len(list(launcher.directory.glob("saved-*"))) == 2


def test_sigterm_to_the_master_alone_stops_the_worker_too(launcher):
    config = launcher.config(nodes=2)
    both = start_both(launcher, config, "saves_on_sigterm.py", str(launcher.directory), "0.5")
    both[0].wait_for(lambda: (p := both[0].progress()) is not None and p.running, "both to run")
    both[0].process.send_signal(signal.SIGTERM)
    assert [run.wait() for run in both] == [75, 75]


def test_pods_that_a_newer_attempt_has_left_behind_end_and_save_nothing(launcher):
    """Their node lost the API server and was given up; whoever took over must not find their checkpoint."""
    config = launcher.config(nodes=2)
    both = start_both(launcher, config, "saves_on_sigterm.py", str(launcher.directory), "0.5")
    both[0].wait_for(lambda: (p := both[0].progress()) is not None and p.running, "both to run")
    newer = Owner("u-1", "speech", "job", 2)
    create_text(paths.owner_file(Path(config.run_dir), 2), codec.dumps(newer))
    assert [run.wait() for run in both] == [EXIT_SUPERSEDED] * 2
    assert "attempt 2 of this job has taken over" in both[0].outcome.message
    assert not list(launcher.directory.glob("saved-*"))


def test_a_worker_whose_master_vanished_ends_as_killed(launcher):
    config = launcher.config(nodes=2)
    master, worker = start_both(launcher, config, "steps.py", "100000", "0.05")
    master.wait_for(lambda: (p := master.progress()) is not None and p.running, "both to run")
    master.process.kill()
    assert worker.wait() == 137
    assert "no answer from the master's supervisor" in worker.outcome.message


def test_a_worker_that_vanished_is_the_cause_of_what_its_peer_says(launcher):
    config = launcher.config(nodes=2)
    master = launcher.start(config, "steps.py", "100", "0.05", "0:raise")
    worker = launcher.start(config, "steps.py", "100000", "0.05", node_rank=1)
    master.wait_for(lambda: (p := master.progress()) is not None and p.running, "both to run")
    worker.process.kill()
    assert master.wait() == 137
    assert master.outcome.message.startswith("no word from pod job-worker-0")


def test_a_hang_that_only_prints_ends_both_pods_with_the_stall(launcher):
    health = Thresholds(stall=Stall(floor_seconds=1))
    config = launcher.config(nodes=2, health=health)
    master, worker = start_both(launcher, config, "hang.py")
    assert (master.wait(), worker.wait()) == (45, 45)
    assert "in all_reduce" in master.outcome.message
    assert worker.events("stacks_taken")[0]["ranks"] == [1]


def test_a_line_of_a_worker_s_rank_is_found_by_the_user_s_pattern(launcher):
    pattern = LogPattern("lost", "lost its way", action=OnExceeded.STOP)
    config = launcher.config(nodes=2, health=Thresholds(log_patterns=(pattern,)))
    master, worker = start_both(launcher, config, "steps.py", "10", "0.02", "1:complain")
    assert (master.wait(), worker.wait()) == (17, 17)
    assert master.outcome.rule == Rule.LOG_PATTERN.value
    assert master.outcome.rank == 1
    assert "pattern 'lost': 1 line of rank 1" in master.outcome.message
