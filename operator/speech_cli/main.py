"""Entry point of `speechtrain`: finds the command's module when it is typed, so that `--help` needs no torch.

The exit codes of `run` are those of `speech_contract.outcome`; 2 is a wrong command line, 64 a refused input.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Final

import click

# command → module below speech_cli.commands, in the order of `speechtrain --help`
COMMANDS: Final[Mapping[str, str]] = {
    "run": "run",
    "status": "status",
    "why": "why",
    "logs": "logs",
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
            return None
        module = importlib.import_module(f"speech_cli.commands.{COMMANDS[name]}")
        command = module.command
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="speechtrain")
def cli() -> None:
    """Train speech models without silent failure."""


def main() -> None:
    """Run the command line and exit with its code."""
    cli.main(prog_name="speechtrain")
