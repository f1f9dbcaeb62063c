"""A desk to run jobs at: the real command line, supervisors, engine; waited for with generous deadlines.

Nothing is mocked. A desk has its own state folder and working directory, so tests never meet.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import speech_cli
import speech_contract
import speech_telemetry
from speech_contract import env, names
from speech_operator.cluster import local_process
from speech_operator.cluster.local_state import JobFolder, PodFile
from speech_telemetry.processes import descendants

DEADLINE = 480.0  # a busy machine is no fault of the code
HERE = Path(__file__).parent
TESTS = HERE.parent
SCRIPTS = HERE / "scripts"
STRANGERS = TESTS / "telemetry" / "scripts"  # scripts that the supervisor alone is tested with
PATHS = [
    *(Path(p.__path__[0]).parent for p in (speech_contract, speech_cli, speech_telemetry)),
    SCRIPTS,
    TESTS / "trainer",
    TESTS / "zoo",
]
CLI = "import sys; from speech_cli.main import main; sys.exit(main())"
NAMESPACE = "default"


def wait_for(condition: Callable[[], Any], what: str, seconds: float = DEADLINE) -> Any:
    """Poll until `condition` gives something true, and return that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited {seconds:.0f} s for {what}")


@dataclasses.dataclass(frozen=True)
class Said:
    """How a call of the command line ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All of it on one line: terminals break lines where they like."""
        return " ".join(f"{self.stdout} {self.stderr}".split())

    @property
    def document(self) -> dict[str, Any]:
        """The JSON of `-o json`."""
        found: dict[str, Any] = json.loads(self.stdout)
        return found


class Call:
    """A command line that runs."""

    def __init__(self, process: subprocess.Popen[bytes], out: Path, err: Path) -> None:
        self.process = process
        self._out, self._err = out, err

    def end(self, seconds: float = DEADLINE) -> Said:
        """Wait for its end."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"still runs after {seconds:.0f} s:\n{self._texts()}") from error
        out, err = self._texts()
        return Said(code, out, err)

    def text(self) -> str:
        """What it has said so far, on one line."""
        return " ".join(" ".join(self._texts()).split())

    def _texts(self) -> tuple[str, str]:
        return (
            self._out.read_text(encoding="utf-8", errors="replace"),
            self._err.read_text(encoding="utf-8", errors="replace"),
        )


class Desk:
    """One working directory with the state of its jobs."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.state_root = root / "state"
        self._calls: list[subprocess.Popen[bytes]] = []
        self._numbers = itertools.count()  # calls may be started by several threads at once

    def manifest(self, name: str, **spec: Any) -> Path:
        """Write a manifest of job `name`; JSON is YAML. The run directory is `<root>/<name>`."""
        document = {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "metadata": {"name": name},
            "spec": {"checkpoint": {"uri": name}, **spec},
        }
        path = self.root / f"{name}.yaml"
        path.write_text(json.dumps(document), encoding="utf-8")
        return path

    def script(self, name: str, script: str, *words: object, **spec: Any) -> Path:
        """A manifest that runs one of our scripts as `custom`."""
        place = SCRIPTS if (SCRIPTS / script).exists() else STRANGERS
        command = ["python3", str(place / script), *map(str, words)]
        return self.manifest(name, recipe={"custom": {}}, trainer={"command": command}, **spec)

    def start(self, *words: object, **environ: str) -> Call:
        """Start `speechtrain WORDS` here."""
        number = next(self._numbers)
        out, err = self.root / f"call-{number}.out", self.root / f"call-{number}.err"
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, PATHS)),
            "COLUMNS": "200",
            env.LOCAL_STATE: str(self.state_root),
            **environ,
        }
        with out.open("wb") as stdout, err.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-c", CLI, *map(str, words)],
                cwd=self.root, env=environment, stdout=stdout, stderr=stderr, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        self._calls.append(process)
        return Call(process, out, err)

    def call(self, *words: object, **environ: str) -> Said:
        """`speechtrain WORDS`, to its end."""
        return self.start(*words, **environ).end()

    # ---- looking ----

    def document(self, name: str) -> dict[str, Any]:
        """The job as it is kept; empty before there is one."""
        return self._folder(name).read_job() or {}

    def status(self, name: str) -> dict[str, Any]:
        """Its status."""
        found: dict[str, Any] = self.document(name).get("status") or {}
        return found

    def progress(self, name: str, field: str) -> Any:
        """A number of `status.progress`."""
        return (self.status(name).get("progress") or {}).get(field)

    def attempt(self, name: str) -> int:
        """Number of the current attempt."""
        return int(self.status(name).get("attempt") or 0)

    def holds(self, name: str, attempt: int, gate: Path, ranks: int) -> None:
        """Wait until every rank of the attempt waits at `gate`, and the status says that it runs.

        The step in the status would say it later: numbers alone are written every ten seconds.
        """

        def there() -> bool:
            running = self.status(name).get("state") == "Running"
            marks = [gate.with_name(f"{gate.name}.{rank}") for rank in range(ranks)]
            return self.attempt(name) == attempt and running and all(m.exists() for m in marks)

        wait_for(there, f"attempt {attempt} of {name} at {gate.name}: {self.status(name)}")

    def findings(self, name: str) -> dict[str, dict[str, Any]]:
        """Findings of the status by rule."""
        return {f["rule"]: f for f in self.status(name)["health"].get("findings", [])}

    def pods(self, name: str) -> dict[int, PodFile]:
        """Living pods by node rank."""
        found = self._folder(name).pods()
        return {p.node_rank: p for p in found if local_process.alive(p.pid, p.start_ticks)}

    def ranks(self, name: str, node: int) -> list[int]:
        """Process ids below a pod's supervisor."""
        pods = self.pods(name)
        return descendants(pods[node].pid) if node in pods else []

    def events(self, name: str, event: str) -> list[dict[str, Any]]:
        """What rank 0 logged in the run directory."""
        path = self.root / name / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        return [e for e in map(json.loads, lines) if e["event"] == event]

    def rank_log(self, name: str, attempt: int, rank: int) -> str:
        """What a rank printed."""
        path = self.root / name / "logs" / f"attempt-{attempt}" / f"rank-{rank}.log"
        return path.read_text(encoding="utf-8", errors="replace")

    def _folder(self, name: str) -> JobFolder:
        return JobFolder(self.state_root, NAMESPACE, name)

    def close(self) -> None:
        """End what still runs: calls first, so that nobody restarts the pods."""
        for process in self._calls:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.wait(60)
        for path in self.state_root.glob(f"{NAMESPACE}/*"):
            for pod in self.pods(path.name).values():
                local_process.kill(pod.pid, pod.start_ticks)
