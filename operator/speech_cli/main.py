"""Entry point of `speechtrain` and `kubectl stj`.

A command's module is imported when the command is typed, so that `--help` needs none of them.

The exit codes of `run` are those of `speech_contract.outcome`; 2 is a wrong command line, 64 a refused input.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final

import click

from speech_contract.errors import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

PROGRAM: Final = "speechtrain"
PLUGIN: Final = "kubectl-stj"

# command, as its module below speech_cli.commands is called → what `speechtrain --help` says of it, in this order
COMMANDS: Final[Mapping[str, str]] = {
    "run": "Train the SpeechTrainingJob in FILE on this machine.",
    "preflight": "Check the SpeechTrainingJob in FILE without training it.",
    "status": "Show every job, or JOB in full.",
    "top": "Show every job in a live table: numbers, verdict, time to go.",
    "why": "Say what happened to JOB: cause, first bad step, rank.",
    "logs": "Print the last lines of a rank of JOB.",
    "report": "Write one HTML page about RUN: a job, a run directory or a log.",
    "speak": "Say a sentence with the voice that RUN trained.",
    "replay": "Show when each rule would have fired on the logs FILE…",
    "wait": "Wait until JOB is Complete, Failed, or at a step.",
    "suspend": "Let JOB save and stop; `resume` continues it.",
    "resume": "Continue JOB where it saved.",
    "doctor": "Look for what would keep jobs from running or being watched.",
    "data": "Make, prepare and check speech to train on.",
    "convert": "Turn the PyTorchJobs in FILE into SpeechTrainingJobs.",
    "crd": "Print the CustomResourceDefinition of SpeechTrainingJob.",
    "completion": "Print what lets bash, zsh or fish complete commands and jobs.",
}


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, most used first."""
        return list(COMMANDS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list of commands, without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Commands by their first letters, without importing one; and the group's options."""
        from click.shell_completion import CompletionItem  # at a Tab alone

        found = [
            CompletionItem(name, help=said)
            for name, said in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import `speech_cli.commands.<name>` and take its `command`."""
        if name not in COMMANDS:
            guess = nearest(name, list(COMMANDS))
            hint = f"; did you mean {guess}?" if guess else ""
            ctx.fail(f"No such command {name!r}{hint}")
        command = _imported(f"speech_cli.commands.{name}").command
        assert isinstance(command, click.Command)
        return command


def _imported(module: str) -> ModuleType:
    """A module, without a search for garbage meanwhile or ever in it: what an import makes stays."""
    gc.disable()
    try:
        return importlib.import_module(module)
    finally:
        gc.freeze()
        gc.enable()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="speechtrain")
def cli() -> None:
    """Train speech models without silent failure."""


def main() -> None:
    """Run the command line and exit with its code. Under the name `kubectl-stj` it is kubectl's plugin."""
    plugin = Path(sys.argv[0]).name == PLUGIN
    cli.main(prog_name="kubectl stj" if plugin else PROGRAM)
