"""The command line and the local controller agree on names, parameters and errors."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from speech_cli import local
from speech_cli.errors import UserError
from speech_contract import codec, outcome
from speech_contract.api.validation import InvalidJob
from speech_contract.errors import ContractError
from speech_contract.outcome import Outcome
from speech_contract.recipes import CustomRecipe, RecipeSpec
from speech_contract.run_config import Checkpoint, RunConfig, Training


@pytest.mark.parametrize("name", ["run_local", "suspend", "resume", "load_job", "list_jobs"])
def test_the_controller_takes_what_the_command_line_gives(name: str) -> None:
    reads = name in ("load_job", "list_jobs")
    real = getattr(local.reader() if reads else local.backend(), name)
    wanted = getattr(local.Reader if reads else local.Backend, name)
    assert inspect.iscoroutinefunction(real) is inspect.iscoroutinefunction(wanted)
    taken = list(inspect.signature(real).parameters)
    assert taken[: len(inspect.signature(wanted).parameters) - 1] == [
        parameter for parameter in inspect.signature(wanted).parameters if parameter != "self"
    ]


def test_the_controller_has_its_own_error() -> None:
    assert issubclass(local.backend().LocalRunError, Exception)
    assert local.reader().LocalRunError is local.backend().LocalRunError


def test_a_job_that_the_controller_finds_invalid_is_told_with_64(runs: Any) -> None:
    runs.error = InvalidJob([ContractError("spec.numNodes", 0, "is below 1", "write 1")])
    with pytest.raises(UserError, match="numNodes: 0 is below 1; write 1") as caught:
        local.run({}, Path("job.yaml"), "default", False, {}, Quiet())
    assert caught.value.exit_code == 64


class Quiet:
    """A watcher that shows nothing."""

    document = None

    def update(self, document: Any, progress: Any = None) -> None:
        """Nothing."""

    def notice(self, sentence: str) -> None:
        """Nothing."""

    def __enter__(self) -> Quiet:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""


def test_the_state_lies_where_the_environment_says(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SPEECHTRAIN_STATE", raising=False)
    assert local.state_root() == tmp_path / ".speechtrain"
    monkeypatch.setenv("SPEECHTRAIN_STATE", "elsewhere")
    assert local.state_root() == tmp_path / "elsewhere"


def test_outcomes_are_read_as_far_as_they_are_whole(state: Path) -> None:
    pods = state / "default" / "voice" / "pods"
    pods.mkdir(parents=True)
    told = Outcome(1, 0, "Training", 40)
    (pods / "voice-master-0.termination.json").write_text(outcome.encode(told), encoding="utf-8")
    (pods / "voice-worker-0.termination.json").write_text('{"half', encoding="utf-8")
    (pods / "voice-worker-0.json").write_text("{}", encoding="utf-8")
    assert local.outcomes("default", "voice") == [told]


def run_config(state: Path, attempt: int, run_dir: str) -> None:
    config = RunConfig(
        "default", "voice", "u", attempt, "t", 1, 1, "127.0.0.1", 1, [], run_dir,
        RecipeSpec(custom=CustomRecipe()), Training(), Checkpoint("../run"),
    )  # fmt: skip
    path = state / "default" / "voice" / "attempts" / str(attempt) / "run.json"
    path.parent.mkdir(parents=True)
    path.write_text(codec.dumps(config), encoding="utf-8")


def test_the_run_directory_is_what_the_newest_run_config_says(
    state: Path, make: dict[str, Callable[..., Any]]
) -> None:
    assert local.run_dir(make["job"](), "default") == Path("run")
    run_config(state, 9, "/old")
    run_config(state, 10, "/new")
    assert local.run_dir(make["job"](), "default") == Path("/new")


def test_the_run_directory_is_told_without_detours(
    state: Path, make: dict[str, Callable[..., Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(state.parent)
    run_config(state, 1, f"{state.parent}/examples/../out/run")
    assert local.run_dir(make["job"](), "default") == Path("out/run")


def test_a_broken_run_config_is_told(state: Path, make: dict[str, Callable[..., Any]]) -> None:
    run_config(state, 1, "/run")
    (state / "default" / "voice" / "attempts" / "1" / "run.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"run\.json"):
        local.run_dir(make["job"](), "default")


def test_a_job_without_state_left_no_outcomes(state: Path) -> None:
    assert local.outcomes("default", "voice") == []


def test_an_unknown_job_names_those_that_are_there(
    runs: Any, make: dict[str, Callable[..., Any]], call: Callable[..., Result]
) -> None:
    runs.jobs = {"voice": make["job"]()}
    assert "jobs there: voice" in call("why", "qqqq").output
