"""Real supervisors over real scripts: started as processes, waited for with generous deadlines."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import speech_contract
import speech_telemetry
from speech_contract import codec, env, outcome
from speech_contract.outcome import Outcome
from speech_contract.progress import Progress
from speech_contract.recipes import Copies, CustomRecipe, RecipeSpec
from speech_contract.run_config import Checkpoint, RunConfig, Training, attempt_token
from speech_contract.thresholds import Thresholds
from speech_operator.cluster.local import free_ports

DEADLINE = 60.0
SCRIPTS = Path(__file__).parent / "scripts"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"waited {seconds} s for {what}")


@dataclasses.dataclass
class Supervised:
    """One supervisor process and what it leaves behind."""

    process: subprocess.Popen[bytes]
    config: RunConfig
    node_rank: int
    directory: Path

    wait_for = staticmethod(wait_for)

    def wait(self, seconds: float = DEADLINE) -> int:
        """Its exit code."""
        return self.process.wait(seconds)

    @property
    def outcome(self) -> Outcome:
        """The termination log, which must hold a record."""
        found = outcome.decode(self._file("termination.json").read_text())
        assert found is not None
        return found

    @property
    def stdout(self) -> str:
        """Everything it printed."""
        return self._file("stdout").read_text(errors="replace")

    def events(self, name: str) -> list[dict[str, Any]]:
        """Its log events of one name."""
        lines = [line for line in self.stdout.splitlines() if line.startswith('{"ts"')]
        return [event for event in map(json.loads, lines) if event["event"] == name]

    def get(self, path: str) -> tuple[int, str]:
        """One HTTP request to it: (status, body); (0, "") when nobody answers."""
        url = f"http://{self.config.supervisor_addresses[self.node_rank]}{path}"
        try:
            with urllib.request.urlopen(url, timeout=30) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def progress(self, query: str = "") -> Progress | None:
        """The progress document; None when nobody answers."""
        status, body = self.get(f"/progress{query}")
        return codec.loads(Progress, body) if status == 200 else None

    def rank_log(self, rank: int = 0) -> str:
        """The log file that a rank's output is kept in."""
        attempt = f"attempt-{self.config.attempt}"
        return Path(self.config.run_dir, "logs", attempt, f"rank-{rank}.log").read_text()

    def _file(self, name: str) -> Path:
        return self.directory / f"{self.node_rank}-{name}"


class Launcher:
    """Starts supervisors below one directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._started: list[Supervised] = []

    def config(
        self,
        *,
        nodes: int = 1,
        ranks: int = 1,
        health: Thresholds | None = None,
        copies: Copies = Copies.PER_RANK,
        **fields: Any,
    ) -> RunConfig:
        """The run config of a custom recipe on this machine."""
        run_dir = str(self.directory / "run")
        master, *supervisors = free_ports(nodes + 1)
        return RunConfig(
            **{
                "namespace": "speech",
                "name": "job",
                "uid": "u-1",
                "attempt": 1,
                "token": attempt_token("u-1", 1),
                "num_nodes": nodes,
                "ranks_per_node": ranks,
                "master_address": "127.0.0.1",
                "master_port": master,
                "supervisor_addresses": [f"127.0.0.1:{port}" for port in supervisors],
                "run_dir": run_dir,
                "recipe": RecipeSpec(custom=CustomRecipe(copies=copies)),
                "training": Training(),
                "checkpoint": Checkpoint(uri=run_dir),
                "health": health or Thresholds(),
                "grace_seconds": 20,
                **fields,
            }
        )

    def start(
        self,
        config: RunConfig,
        *command: str,
        node_rank: int = 0,
        flags: tuple[str, ...] = (),
        environ: dict[str, str] | None = None,
        interpreter: tuple[str, ...] = (),
    ) -> Supervised:
        """Start one pod's supervisor over `command`; a command that ends in .py names one of our scripts.

        `interpreter`: what Python is given instead of the launcher.
        """
        if command[0].endswith(".py"):
            command = (sys.executable, str(SCRIPTS / command[0]), *command[1:])
        path = self.directory / f"run-{node_rank}.json"
        path.write_text(codec.dumps(config))
        roots = [
            Path(package.__path__[0]).parent for package in (speech_contract, speech_telemetry)
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, roots)),
            env.RUN_CONFIG: str(path),
            env.PET_NODE_RANK: str(node_rank),
            env.TERMINATION_LOG: str(self.directory / f"{node_rank}-termination.json"),
            **(environ or {}),
        }
        launch = ("-m", "speech_telemetry.launch", *flags, "--", *command)
        argv = [sys.executable, *(interpreter or launch)]
        with open(self.directory / f"{node_rank}-stdout", "ab") as stdout:
            process = subprocess.Popen(
                argv, env=environment, stdout=stdout, stderr=subprocess.STDOUT, cwd=self.directory
            )
        started = Supervised(process, config, node_rank, self.directory)
        self._started.append(started)
        return started

    def close(self) -> None:
        """End what still runs; ranks die with their supervisor."""
        for started in self._started:
            if started.process.poll() is None:
                started.process.send_signal(signal.SIGKILL)
            started.process.wait(DEADLINE)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    """Supervisors that end with the test."""
    opened = Launcher(tmp_path)
    yield opened
    opened.close()


@pytest.fixture
def eventually() -> Callable[..., Any]:
    """Poll until something holds."""
    return wait_for
