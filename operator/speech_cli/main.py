"""Entry point of `speechtrain` and `kubectl stj`.

A command's module is imported when the command is typed, so that `--help` needs no torch.

The exit codes of `run` are those of `speech_contract.outcome`; 2 is a wrong command line, 64 a refused input.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import click

from speech_contract.errors import nearest

PLUGIN: Final = "kubectl-stj"

# command → module below speech_cli.commands, in the order of `speechtrain --help`
COMMANDS: Final[Mapping[str, str]] = {
    "run": "run",
    "preflight": "preflight",
    "status": "status",
    "why": "why",
    "logs": "logs",
    "replay": "replay",
    "suspend": "suspend",
    "resume": "resume",
    "data": "data",
    "convert": "convert",
    "crd": "crd",
}


class Commands(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, most used first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import `speech_cli.commands.<name>` and take its `command`."""
        if name not in COMMANDS:
            guess = nearest(name, list(COMMANDS))
            hint = f"; did you mean {guess}?" if guess else ""
            ctx.fail(f"No such command {name!r}{hint}")
        module = importlib.import_module(f"speech_cli.commands.{COMMANDS[name]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="speechtrain")
def cli() -> None:
    """Train speech models without silent failure."""


def main() -> None:
    """Run the command line and exit with its code. Under the name `kubectl-stj` it is kubectl's plugin."""
    plugin = Path(sys.argv[0]).name == PLUGIN
    cli.main(prog_name="kubectl stj" if plugin else "speechtrain")
