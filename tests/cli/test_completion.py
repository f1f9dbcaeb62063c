"""Completion: click's scripts, and what a Tab asks for: names of commands without their modules, jobs from folders."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import Result

from speech_cli.commands.completion import VARIABLE
from speech_cli.main import COMMANDS, PROGRAM, cli


def offered(*words: str, last: str = "") -> list[str]:
    """What a Tab after these words offers."""
    completer = ShellComplete(cli, {}, PROGRAM, VARIABLE)
    return [item.value for item in completer.get_completions(list(words), last)]


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("zsh", "#compdef speechtrain"),
        ("fish", "complete --no-files --command speechtrain"),
        ("bash", "complete -o nosort -F"),
    ],
)
def test_a_script_for_each_shell(call: Callable[..., Result], shell: str, line: str) -> None:
    script = call("completion", shell).stdout
    assert line in script
    assert f"{VARIABLE}={shell}_complete" in script


def test_commands_options_and_jobs_are_offered(state: Path) -> None:
    for place in ("default/voice", "default/vits", "asr/whisper"):
        (state / place).mkdir(parents=True)
    assert offered(last="st") == ["status"]
    assert offered() == list(COMMANDS)
    assert offered("status") == ["vits", "voice"]
    assert offered("logs", last="vo") == ["voice"]
    assert offered("wait", "-n", "asr") == ["whisper"]
    assert offered("suspend", "-n", "nowhere") == []
    assert "--replay-batch" in offered("why", last="--")


def test_a_tab_behind_the_program_imports_no_command() -> None:
    code = (
        "import sys; from click.shell_completion import ShellComplete; from speech_cli.main import cli\n"
        "found = ShellComplete(cli, {}, 'speechtrain', 'X').get_completions([], 'w')\n"
        "print([i.value for i in found], [m for m in sys.modules if m.startswith('speech_cli.c')])"
    )
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "['why', 'wait'] []"
