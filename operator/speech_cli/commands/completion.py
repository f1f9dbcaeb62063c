"""`speechtrain completion SHELL`: click's own script, which asks `speechtrain` again at each Tab."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from speech_cli.main import PROGRAM, cli

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = f"_{PROGRAM.upper()}_COMPLETE"  # click's own choice for a program of this name


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print what lets SHELL complete commands, options and the names of this machine's jobs.

    bash: `eval "$(speechtrain completion bash)"` in ~/.bashrc; zsh the same in ~/.zshrc, after compinit;
    fish: `speechtrain completion fish > ~/.config/fish/completions/speechtrain.fish`.
    """
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(cli, {}, PROGRAM, VARIABLE).source())
