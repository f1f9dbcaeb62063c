"""`speechtrain crd`: print the CRD as the models generate it, or compare it with the committed file."""

from __future__ import annotations

import difflib
from pathlib import Path

import click

from speech_cli.errors import Stale
from speech_cli.extras import lazily

DIFF_SHOWN = 20


@click.command()
@click.option(
    "--check", is_flag=True, help="Compare with the committed file; exit with 1 if it differs."
)
def command(check: bool) -> None:
    """Print the CustomResourceDefinition of SpeechTrainingJob."""
    module = lazily("speech_contract.crd", "cli")
    text: str = module.render()
    if not check:
        click.echo(text, nl=False)
        return
    path = Path(module.__file__ or "").resolve().parents[1] / f"{module.CRD_FILE}"
    _compare(path, text)
    click.echo(f"{path.name} is what the models say")


def _compare(path: Path, text: str) -> None:
    try:
        committed = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Stale(f"{path}: is not there; run `make crd` in a clone of the project") from error
    if committed == text:
        return
    lines = difflib.unified_diff(
        committed.splitlines(), text.splitlines(), "committed", "generated", lineterm="", n=1
    )
    shown = "\n".join(list(lines)[:DIFF_SHOWN])
    raise Stale(f"{path.name}: differs from the models; run `make crd` and commit it\n{shown}")
