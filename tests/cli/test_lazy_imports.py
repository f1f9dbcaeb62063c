"""Whoever never speaks to a cluster never loads the client's package, and a status is read without pydantic."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
from click.testing import CliRunner
from speech_cli.main import cli
CliRunner().invoke(cli, sys.argv[1:])
spared = {"kubernetes", "urllib3", "kopf"} | ({"pydantic"} if "--help" in sys.argv else set())
print([name for name in sys.modules if name.partition(".")[0] in spared])
"""


@pytest.mark.parametrize(
    "arguments", [["status", "--local"], ["why", "--help"], ["logs", "none", "--local"]]
)
def test_a_local_command_does_without_kubernetes(arguments: list[str]) -> None:
    command = [sys.executable, "-c", CODE, *arguments]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert printed.splitlines()[-1] == "[]"
