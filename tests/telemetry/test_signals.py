"""Who may be killed, and what follows: SIGTERM with grace, kill -9 of the supervisor, a second request."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from speech_contract.phases import Phase

pytestmark = pytest.mark.e2e


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def reached(run, step):
    """Wait until the run reports a step."""
    return run.wait_for(
        lambda: (p := run.progress()) is not None and (p.step or 0) >= step and p, f"step {step}"
    )


def test_sigterm_lets_every_rank_save(launcher):
    run = launcher.start(
        launcher.config(ranks=2), "saves_on_sigterm.py", str(launcher.directory), "1"
    )
    reached(run, 3)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 75
    assert run.outcome.exit_code == 75
    assert {path.name for path in launcher.directory.glob("saved-*")} == {"saved-0", "saved-1"}


def test_a_rank_that_needs_longer_than_the_grace_is_killed_and_said(launcher):
    config = launcher.config(grace_seconds=2)
    run = launcher.start(config, "saves_on_sigterm.py", str(launcher.directory), "600")
    reached(run, 3)
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 143
    assert "rank 0: 137" in run.outcome.message


def test_a_script_that_dies_of_sigterm_has_not_saved(launcher):
    run = launcher.start(launcher.config(), "silent.py", "600")
    run.wait_for(lambda: run.events("ranks_started"), "the ranks")
    run.process.send_signal(signal.SIGTERM)
    assert run.wait() == 143


@pytest.mark.parametrize("at_once", [False, True])
def test_a_second_request_waits_for_nothing(launcher, at_once):
    """Also one that comes before the first was heard."""
    config = launcher.config(grace_seconds=3600)
    run = launcher.start(config, "saves_on_sigterm.py", str(launcher.directory), "3600")
    reached(run, 3)
    run.process.send_signal(signal.SIGTERM)  # two of one kind at once would be one
    if not at_once:
        run.wait_for(lambda: run.events("stop_requested"), "the request")
    run.process.send_signal(signal.SIGINT)
    assert run.wait() == 143


def told_pids(run, ranks):
    """The process ids that the ranks printed."""

    def pids():
        logs = [Path(run.config.run_dir, "logs", "attempt-1", f"rank-{r}.log") for r in ranks]
        if not all(log.is_file() and "pid=" in log.read_text() for log in logs):
            return None
        return [int(log.read_text().strip().removeprefix("pid=")) for log in logs]

    return run.wait_for(pids, "the ranks")


WORKER = "setsid sleep 600 & echo pid=$!;"  # as torchrun does: a session of its own


def test_a_launcher_s_ranks_die_with_a_killed_supervisor(launcher):
    run = launcher.start(launcher.config(), "sh", "-c", f"{WORKER} wait", flags=("--exec",))
    (worker,) = told_pids(run, [0])
    assert is_alive(worker)
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait_for(lambda: not is_alive(worker), "the worker to die")


def test_a_launcher_s_ranks_die_with_a_crashed_launcher(launcher):
    run = launcher.start(launcher.config(), "sh", "-c", f"{WORKER} exit 3", flags=("--exec",))
    assert run.wait() == 3
    (worker,) = told_pids(run, [0])
    assert not is_alive(worker)


def test_ranks_die_with_a_killed_supervisor(launcher):
    command = "echo pid=$$; exec sleep 600"
    run = launcher.start(launcher.config(ranks=2), "sh", "-c", command)
    started = told_pids(run, [0, 1])
    assert all(is_alive(pid) for pid in started)
    os.kill(run.process.pid, signal.SIGKILL)
    run.wait_for(lambda: not any(is_alive(pid) for pid in started), "the ranks to die")
    record = run.outcome
    assert (record.exit_code, record.phase) == (None, Phase.STARTING.value)
