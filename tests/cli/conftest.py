"""Job documents as the controller writes them, and a controller that runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from speech_cli import local
from speech_cli.main import cli
from speech_contract import outcome
from speech_contract.findings import Action, Finding, FindingStatus, Verdict
from speech_contract.phases import Phase
from speech_contract.progress import Progress, Rule, Severity

_HERE = str(Path(__file__).resolve().parent)
if _HERE not in sys.path:  # api_double is no package
    sys.path.insert(0, _HERE)

from api_double import ApiDouble, kubeconfig, serving  # noqa: E402

Document = dict[str, Any]
NAN_FINDING = {
    "rule": "NonFinite",
    "status": "Active",
    "severity": "critical",
    "evidence": "4 steps in a row with loss nan, steps 12 to 15",
    "action": "Stopped",
    "remedy": "lower the learning rate",
    "step": 12,
    "rank": 0,
}


def job(state: str = "Running", **status: Any) -> Document:
    """A SpeechTrainingJob document; `status` fields replace the defaults."""
    return {
        "apiVersion": "speechtrain.dev/v1alpha1",
        "kind": "SpeechTrainingJob",
        "metadata": {
            "name": "voice",
            "namespace": "default",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {"checkpoint": {"uri": "run"}, "training": {"maxSteps": 800}},
        "status": {
            "state": state,
            "attempt": 1,
            "replicas": {"desired": 1, "ready": 1},
            "conditions": [],
            "startTime": "2026-01-01T00:00:00Z",
            **status,
        },
    }


def complete_job() -> Document:
    """A job that reached its last step."""
    return job(
        "Complete",
        conditions=[{"type": "Complete", "status": "True", "reason": "TrainingSucceeded"}],
        progress={"step": 800, "totalSteps": 800, "loss": "41.5", "gradientNorm": "3.25"},
        health={"verdict": "Healthy", "findings": []},
        attempts=[{"number": 1, "exitCode": 0, "lastStep": 800}],
        completionTime="2026-01-01T00:02:58Z",
    )


def nan_job() -> Document:
    """A job that ended with 40."""
    return job(
        "Failed",
        conditions=[
            {
                "type": "Failed",
                "status": "True",
                "reason": "NonFiniteBudgetSpent",
                "message": "non-finite beyond the budget, no confirmed checkpoint",
            }
        ],
        progress={"step": 15, "totalSteps": 800, "loss": "nan", "gradientNorm": "inf"},
        health={"verdict": "Critical", "findings": [NAN_FINDING]},
        attempts=[
            {"number": 1, "reason": "AttemptFailed", "cause": "NonFiniteBudgetSpent",
             "exitCode": 40, "rank": 0, "lastStep": 15}
        ],
        failure={"reason": "NonFiniteBudgetSpent", "message": "non-finite beyond the budget",
                 "exitCode": 40, "rank": 0, "logTail": "step 15 loss nan\n"},
    )  # fmt: skip


def progress(**changes: Any) -> Progress:
    """Numbers in the middle of a healthy run."""
    fields: dict[str, Any] = {
        "version": "1.7",
        "attempt": 1,
        "phase": Phase.TRAINING,
        "running": True,
        "source": "Reporter",
        "step": 120,
        "total_steps": 800,
        "loss": 93.21,
        "losses": {"total": 93.21, "generator/mel": 62.0},
        "gradient_norm": 12.3,
        "learning_rate": 1e-3,
        "audio_seconds_per_second": 31.4,
        "eta_seconds": 151.0,
        "verdict": Verdict.HEALTHY,
        "device": "cpu",
    }
    return Progress(**{**fields, **changes})


def nan_finding() -> Finding:
    """The finding of a NaN run, as the supervisor tells it."""
    return Finding(
        Rule.NON_FINITE, FindingStatus.ACTIVE, Severity.CRITICAL, "loss is nan", Action.GATED,
        "lower the learning rate", step=12, rank=0,
    )  # fmt: skip


class LocalRunError(ValueError):
    """As `speech_operator.local_run` has it."""


class FakeRuns:
    """Stands for `speech_operator.local_run`: plays updates, keeps documents, remembers calls."""

    LocalRunError = LocalRunError

    def __init__(self, run_dir: Path) -> None:
        self.updates: list[tuple[Document, Progress | None]] = []
        self.jobs: dict[str, Document] = {}
        self.code = outcome.EXIT_DONE
        self.error: Exception | None = None
        self.calls: list[tuple[Any, ...]] = []
        self.run_dir = run_dir

    async def run_local(
        self,
        document: Mapping[str, Any],
        manifest_path: Path,
        state_root: Path,
        namespace: str,
        new: bool,
        volumes: Mapping[str, Path],
        on_update: Callable[[Document, Progress | None], None],
        on_notice: Callable[[str], None],
    ) -> int:
        on_notice("ignored on one machine: accelerator")
        self.calls.append(("run", manifest_path, state_root, namespace, new, dict(volumes)))
        if self.error:
            raise self.error
        for update in self.updates:
            on_update(*update)
        return self.code

    async def suspend(self, state_root: Path, namespace: str, name: str) -> None:
        self.calls.append(("suspend", state_root, namespace, name))

    async def resume(
        self,
        state_root: Path,
        namespace: str,
        name: str,
        on_update: Callable[[Document, Progress | None], None],
        on_notice: Callable[[str], None],
    ) -> int:
        on_notice("ignored on one machine: accelerator")
        self.calls.append(("resume", state_root, namespace, name))
        for update in self.updates:
            on_update(*update)
        return self.code

    def load_job(self, state_root: Path, namespace: str, name: str) -> Document | None:
        return self.jobs.get(name)

    def list_jobs(self, state_root: Path, namespace: str | None = None) -> list[Document]:
        return list(self.jobs.values())


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that holds the state of local runs."""
    root = tmp_path / "state"
    monkeypatch.setenv("SPEECHTRAIN_STATE", str(root))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "no-kubeconfig"))
    monkeypatch.delenv("NO_COLOR", raising=False)
    return root


@pytest.fixture
def runs(tmp_path: Path, state: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    """The fake controller in the place of the real one."""
    fake = FakeRuns(tmp_path / "run")
    monkeypatch.setattr(local, "backend", lambda: fake)
    monkeypatch.setattr(local, "reader", lambda: fake)
    monkeypatch.setattr(local, "run_dir", lambda document, namespace, root=None: fake.run_dir)
    return fake


@pytest.fixture
def call() -> Callable[..., Result]:
    """Type a command line: `call("status", "voice")`."""
    return lambda *arguments: CliRunner().invoke(cli, [str(a) for a in arguments])


@pytest.fixture
def make() -> dict[str, Callable[..., Any]]:
    """Builders of documents, by name."""
    return {
        "job": job,
        "complete": complete_job,
        "nan": nan_job,
        "progress": progress,
        "nan_finding": nan_finding,
    }


@pytest.fixture
def cluster(runs: FakeRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ApiDouble]:
    """A cluster that the current context leads to, and no job on this machine."""
    with serving() as double:
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", double.url)))
        yield double
