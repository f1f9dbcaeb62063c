"""`speechtrain-launch [--exec] [--] COMMAND…`: run a training command under a supervisor.

The container's entry point; on any machine `speechtrain-launch -- python train.py` works by itself. Reads the
run config (SPEECHTRAIN_RUN_CONFIG) and the environment that torchrun and PyTorchJob use; exits with the
outcome's code. `--exec`: the command starts its ranks itself (torchrun), so it is started once.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from speech_contract import env
from speech_contract.errors import ContractError
from speech_contract.events import Event
from speech_contract.outcome import EXIT_BAD_CONFIG, EXIT_INTERNAL, Outcome
from speech_contract.phases import Phase
from speech_telemetry.logs import ERROR, EventLog
from speech_telemetry.master import MasterSupervisor
from speech_telemetry.outcome import TerminationLog
from speech_telemetry.pod import Pod, default_termination_log, load_pod
from speech_telemetry.ranks import Tee
from speech_telemetry.supervisor import Supervisor
from speech_telemetry.worker import WorkerSupervisor


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    arguments = _parse(sys.argv[1:] if argv is None else argv)
    environ = dict(os.environ)
    try:
        pod = read_pod(arguments.command, environ, wrap=arguments.exec)
    except ContractError as error:
        return _refuse(str(error), environ)
    try:
        supervisor = build(pod, environ)
    except OSError as error:  # a port that is taken, a directory that can't be made
        return _refuse(f"the supervisor can't start: {error}", environ)
    try:
        return supervisor.run()
    except Exception as error:  # our own fault: said as such, with its traceback
        traceback.print_exc()
        return _refuse(f"{type(error).__name__}: {error}", environ, EXIT_INTERNAL)


def read_pod(command: Sequence[str], environ: Mapping[str, str], *, wrap: bool) -> Pod:
    """Read the run config, if there is one. Raises ContractError."""
    path = environ.get(env.RUN_CONFIG)
    text = _read(Path(path)) if path else None
    pod = load_pod(tuple(command), environ, text, wrap=wrap)
    if pod.termination_log is None:
        pod = dataclasses.replace(pod, termination_log=default_termination_log())
    return pod


def build(pod: Pod, environ: Mapping[str, str]) -> Supervisor:
    """The supervisor of this pod, listening already. Raises OSError."""
    config = pod.config
    log = EventLog(
        "supervisor", sys.stdout, time.time, namespace=config.namespace, job=config.name, uid=config.uid,
        attempt=config.attempt, pod=pod.name,
    )  # fmt: skip
    kind = MasterSupervisor if pod.is_master else WorkerSupervisor
    supervisor: Supervisor = kind(pod, environ, log, Tee(sys.stdout.buffer))
    log.emit(
        Event.SUPERVISOR_STARTED, node_rank=pod.node_rank, pid=os.getpid(), port=supervisor.server.port,
        run_dir=config.run_dir,
    )  # fmt: skip
    return supervisor


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="speechtrain-launch", description="Run a training command under a supervisor."
    )
    parser.add_argument(
        "--exec", action="store_true", help="the command starts its ranks itself (torchrun)"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="after --")
    arguments = parser.parse_args(argv)
    if arguments.command[:1] == ["--"]:
        arguments.command = arguments.command[1:]
    if not arguments.command:
        parser.error("no command: write `speechtrain-launch -- python train.py`")
    return arguments


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        remedy = "mount the run config or correct the path"
        raise ContractError(
            env.RUN_CONFIG, str(path), f"can't be read ({error})", remedy
        ) from error


def _refuse(sentence: str, environ: Mapping[str, str], code: int = EXIT_BAD_CONFIG) -> int:
    """End with `code`, and the sentence in the log and in the termination log."""
    EventLog("supervisor", sys.stdout, time.time).emit(
        Event.SUPERVISOR_STOPPED, ERROR, error=sentence, exit_code=code
    )
    given = environ.get(env.TERMINATION_LOG)
    log = TerminationLog(Path(given) if given else default_termination_log())
    log.write(Outcome(0, 0, Phase.STARTING.value, code, sentence))
    return code


if __name__ == "__main__":
    sys.exit(main())
