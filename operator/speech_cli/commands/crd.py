"""`speechtrain crd`: print the CRD as the models generate it, or compare it with the committed file."""

from __future__ import annotations

from pathlib import Path

import click

from speech_cli.errors import Stale
from speech_cli.extras import lazily


@click.command()
@click.option(
    "--check", is_flag=True, help="Compare with the committed file; exit with 1 if it differs."
)
def command(check: bool) -> None:
    """Print the CustomResourceDefinition of SpeechTrainingJob."""
    module = lazily("speech_contract.crd", "cli")
    if not check:
        click.echo(module.render(), nl=False)
        return
    path = Path(str(module.__file__)).resolve().parents[2] / module.FILE
    try:
        committed = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Stale(f"{path}: is not there; run `make crd` in a clone of the project") from error
    if drift := module.drift(committed):
        raise Stale(f"{module.FILE}: differs from the models; run `make crd`\n{drift}")
    click.echo(f"{module.FILE} is what the models say")
