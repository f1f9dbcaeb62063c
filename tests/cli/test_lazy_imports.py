"""Nobody waits for what a command does not use: the cluster's client, pydantic, other commands, the wire."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

from speech_cli.main import COMMANDS, cli

CODE = """
import sys
from click.testing import CliRunner
from speech_cli.main import cli
CliRunner().invoke(cli, sys.argv[1:])
print([name for name in sys.modules if name.startswith(("speech_cli.commands.", "speech_contract."))])
spared = {"kubernetes", "urllib3", "kopf", "pydantic", "asyncio", "yaml", "ssl", "http", "email"}
print([name for name in sys.modules if name.partition(".")[0] in spared])
"""


# Of the contract: what supervisors and the operator say.
UNUSED = {"progress", "result", "status", "wire"}


def _loaded(*arguments: str) -> list[list[str]]:
    """What of ours a command loaded, and what of others that it should not have."""
    command = [sys.executable, "-c", CODE, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [ast.literal_eval(line) for line in printed.splitlines()[-2:]]


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "--local"],
        ["top", "--local"],
        ["wait", "none", "--local"],
        ["why", "--help"],
        ["doctor", "--help"],
        ["logs", "none", "--local"],
    ],
)
def test_a_local_command_does_without_kubernetes(arguments: list[str]) -> None:
    assert _loaded(*arguments)[1] == []


def test_the_list_of_commands_imports_none() -> None:
    ours, spared = _loaded("--help")
    assert (ours, spared) == (["speech_contract.errors"], [])


def test_a_list_of_jobs_needs_neither_models_nor_controller_nor_a_run_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPEECHTRAIN_STATE", str(tmp_path))
    job = tmp_path / "default" / "voice" / "job.json"
    job.parent.mkdir(parents=True)
    job.write_text(json.dumps({"metadata": {"name": "voice"}}), encoding="utf-8")
    ours, spared = _loaded("status", "--local")
    assert [name for name in ours if name.startswith("speech_contract.api")] == []
    assert {"speech_contract.run_config", "speech_contract.thresholds"}.isdisjoint(ours)
    assert spared == []


def test_a_replay_loads_its_command_and_no_more_of_the_contract_than_it_judges_by(
    tmp_path: Path,
) -> None:
    log = tmp_path / "metrics.csv"
    log.write_text("step,loss\n1,2.5\n2,2.4\n", encoding="utf-8")
    loaded, spared = _loaded("replay", str(log))
    assert spared == []
    assert [name for name in loaded if name.startswith("speech_cli.commands.")] == [
        "speech_cli.commands.replay"
    ]
    assert UNUSED.isdisjoint(name.partition(".")[2] for name in loaded)


def test_every_command_that_is_listed_is_there() -> None:
    context = click.Context(cli)
    assert all(cli.get_command(context, name) for name in COMMANDS)
