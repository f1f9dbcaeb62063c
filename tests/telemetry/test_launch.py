"""Whole runs of strangers' scripts under the supervisor: what is named, and how it ends."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from speech_contract.findings import Verdict
from speech_contract.outcome import OUTCOME_LIMIT_BYTES
from speech_contract.progress import Rule
from speech_contract.recipes import Copies
from speech_contract.thresholds import HealthMode, Stall, Telemetry, Thresholds, ZeroLoss

SCRIPTS = Path(__file__).parent / "scripts"
pytestmark = pytest.mark.e2e


def line_of(script: str, text: str) -> int:
    """The number of the script's last line that holds `text`."""
    lines = (SCRIPTS / script).read_text().splitlines()
    return max(number for number, line in enumerate(lines, 1) if text in line)


def test_the_seeds_loop_is_named_at_exit(launcher):
    run = launcher.start(launcher.config(), "seed_loop.py", "5", "0")
    assert run.wait() == 41
    assert run.outcome.exit_code == 41
    assert run.outcome.rule == Rule.ZERO_LOSS.value
    assert run.outcome.verdict == Verdict.CRITICAL.value
    assert "Epoch 5/5: loss=0.0" in run.rank_log()
    assert "Epoch 5/5: loss=0.0" in run.stdout


def test_the_last_event_says_what_ranks_and_supervisor_cost(launcher):
    run = launcher.start(launcher.config(), "seed_loop.py", "5", "0")
    run.wait()
    (stopped,) = run.events("supervisor_stopped")
    assert stopped["cpu_seconds"] > 0
    assert stopped["ranks_cpu_seconds"] > 0


def test_a_longer_seed_loop_is_stopped_right_after_the_threshold(launcher):
    health = Thresholds(zero_loss=ZeroLoss(for_steps=6))
    run = launcher.start(launcher.config(health=health), "seed_loop.py", "10000", "0.1")
    assert run.wait() == 41
    assert run.outcome.rule == Rule.ZERO_LOSS.value
    assert run.rank_log().count("loss=0.0") < 100


def test_notify_says_what_it_would_have_done_and_lets_it_end(launcher):
    health = Thresholds(mode=HealthMode.NOTIFY)
    run = launcher.start(launcher.config(health=health), "seed_loop.py", "5", "0")
    assert run.wait() == 0
    assert run.outcome.findings[0].action.value == "WouldHaveStopped"


def test_a_script_that_prints_nothing_is_named_and_ends_as_it_likes(launcher):
    health = Thresholds(telemetry=Telemetry(missing_seconds=1))
    run = launcher.start(launcher.config(health=health), "silent.py", "4")
    assert run.wait() == 0
    assert run.outcome.verdict == Verdict.UNKNOWN.value
    assert [finding.rule for finding in run.outcome.findings] == [Rule.TELEMETRY_MISSING]
    assert run.events("finding_raised")


def test_three_lines_name_the_step(launcher):
    run = launcher.start(launcher.config(), "three_lines.py", "100000")
    assert run.wait() == 41
    assert run.outcome.rule == Rule.ZERO_LOSS.value
    assert run.outcome.findings[0].step == 1


def test_what_a_run_reported_last_is_known_although_nobody_listened_then(launcher):
    run = launcher.start(launcher.config(), "unheard.py")
    assert run.wait() == 0
    assert run.outcome.step == run.outcome.last_checkpoint_step == 30
    assert run.outcome.loss == pytest.approx(1 / 30)


def test_a_hang_that_only_prints_is_named_with_its_python_line(launcher):
    health = Thresholds(stall=Stall(floor_seconds=1))  # five of them for who only prints
    run = launcher.start(launcher.config(health=health), "hang.py")
    assert run.wait() == 45
    assert run.outcome.rule == Rule.STALLED.value
    where = f"hang.py:{line_of('hang.py', 'time.sleep(60)')} in all_reduce"
    assert run.outcome.message.startswith(f"rank 0 in phase Training at {where}")
    assert where in run.outcome.findings[0].evidence


def test_a_filtered_nan_is_no_zero_loss(launcher):
    run = launcher.start(launcher.config(), "hugging_face_nan.py")
    assert run.wait() == 40
    assert run.outcome.rule == Rule.NON_FINITE.value


def test_a_stalled_rank_is_named_among_its_peers(launcher):
    health = Thresholds(stall=Stall(floor_seconds=4))
    run = launcher.start(
        launcher.config(ranks=2, health=health), "steps.py", "10", "0.05", "1:sleep"
    )
    assert run.wait() == 45
    assert run.outcome.rank == 1
    where = f"steps.py:{line_of('steps.py', 'time.sleep(3600)')} in barrier"
    assert run.outcome.message.startswith(f"rank 1 in phase Training at {where}")
    assert where in run.outcome.findings[0].evidence


@pytest.mark.parametrize(
    ("deed", "code", "message"),
    [
        pytest.param("kill", 137, "rank 1 ended with 137: killed by SIGKILL", id="killed"),
        pytest.param("raise", 1, "RuntimeError: rank 1 lost its way", id="an exception"),
        pytest.param("exit40", 40, "rank 1 ended with 40", id="the engine's own code"),
    ],
)
def test_a_failed_rank_ends_its_peers_and_is_named(launcher, deed, code, message):
    run = launcher.start(launcher.config(ranks=2), "steps.py", "10", "0.02", f"1:{deed}")
    assert run.wait() == code
    assert (run.outcome.exit_code, run.outcome.rank) == (code, 1)
    assert run.outcome.message.startswith(message)
    assert run.outcome.rule == (Rule.NON_FINITE.value if code == 40 else "")


def test_one_copy_gets_the_pods_own_environment(launcher):
    config = launcher.config(ranks=4, copies=Copies.ONE)
    run = launcher.start(config, "sh", "-c", "echo local=$LOCAL_RANK- $SPEECHTRAIN_ATTEMPT")
    assert run.wait() == 0
    assert "local=- 1" in run.rank_log()


def test_exec_starts_the_command_once(launcher):
    run = launcher.start(launcher.config(ranks=4), "sh", "-c", "echo here", flags=("--exec",))
    assert run.wait() == 0
    assert run.rank_log().count("here") == 1


def test_ranks_get_torchs_names(launcher):
    shown = (
        "$RANK/$WORLD_SIZE $LOCAL_RANK/$LOCAL_WORLD_SIZE $GROUP_RANK $MASTER_PORT $OMP_NUM_THREADS"
    )
    config = launcher.config(ranks=2, omp_threads=3)
    run = launcher.start(config, "sh", "-c", f'echo "{shown}"')
    assert run.wait() == 0
    assert run.rank_log(1).strip() == f"1/2 1/2 0 {config.master_port} 3"


def test_a_command_that_is_not_there_is_a_bad_config(launcher):
    run = launcher.start(launcher.config(), "pyhton", "train.py")
    assert run.wait() == 64
    assert "'pyhton' can't be run" in run.outcome.message


@pytest.mark.parametrize(
    ("environ", "sentence"),
    [
        pytest.param({"SPEECHTRAIN_RUN_CONFIG": "gone.json"}, "can't be read", id="no file"),
        pytest.param({"PET_NODE_RANK": "7"}, "is outside the job's 1 nodes", id="node rank"),
    ],
)
def test_a_bad_run_config_is_refused_with_its_sentence(launcher, environ, sentence):
    run = launcher.start(launcher.config(), "silent.py", "0", environ=environ)
    assert run.wait() == 64
    assert sentence in run.outcome.message


def test_without_a_run_config_a_command_is_watched_all_the_same(launcher):
    environ = {"SPEECHTRAIN_RUN_CONFIG": "", "PET_NODE_RANK": ""}
    run = launcher.start(launcher.config(), "seed_loop.py", "5", "0", environ=environ)
    assert run.wait() == 41
    logs = launcher.directory / "speechtrain-run" / "logs" / "attempt-1"
    assert "loss=0.0" in (logs / "rank-0.log").read_text()


def test_a_script_that_floods_keeps_its_outcome_small(launcher):
    flood = "import sys; sys.stdout.write(('x' * 5000 + '\\n') * 50); raise ValueError('é' * 5000)"
    run = launcher.start(launcher.config(), sys.executable, "-c", flood)
    assert run.wait() == 1
    record = launcher.directory / "0-termination.json"
    assert len(record.read_bytes()) <= OUTCOME_LIMIT_BYTES
    assert run.outcome.message.startswith("ValueError: é")
    assert run.outcome.exit_code == 1


def test_a_port_that_is_taken_is_said(launcher):
    config = launcher.config()
    port = int(config.supervisor_addresses[0].rpartition(":")[2])
    with socket.create_server(("127.0.0.1", port)):
        run = launcher.start(config, "silent.py", "0")
        assert run.wait() == 64
    assert "the supervisor can't start" in run.outcome.message
    assert "Address already in use" in run.outcome.message


def test_our_own_fault_is_said_as_such(launcher):
    code = (
        "import sys; from speech_telemetry import launch, supervisor\n"
        "supervisor.Supervisor._live = lambda self: 1 / 0\n"
        "sys.exit(launch.main(['--', 'sleep', '600']))"
    )
    run = launcher.start(launcher.config(), "sh", interpreter=("-c", code))
    assert run.wait() == 70
    assert run.outcome.message == "ZeroDivisionError: division by zero"
