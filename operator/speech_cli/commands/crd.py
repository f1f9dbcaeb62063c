"""`speechtrain crd`: print CRD or admission policy as the models generate them, or compare with the committed files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click

from speech_cli.errors import Stale
from speech_cli.extras import lazily


@click.command()
@click.option(
    "--check", is_flag=True, help="Compare with the committed files; exit with 1 if it differs."
)
@click.option(
    "--policy", is_flag=True, help="The ValidatingAdmissionPolicy that refuses mistyped fields."
)
def command(check: bool, policy: bool) -> None:
    """Print the CustomResourceDefinition of SpeechTrainingJob."""
    kinds = [lazily(f"speech_contract.api.{name}", "cli") for name in ("crd", "admission")]
    if not check:
        click.echo(kinds[policy].render(), nl=False)
        return
    for module in kinds:
        root = Path(str(module.__file__)).resolve().parents[3]
        for file in module.FILES:
            _compare(root / file, file, module.drift)
            click.echo(f"{file} is what the models say")


def _compare(path: Path, file: str, drift: Callable[[str, str], str]) -> None:
    """Raises Stale with the difference, or when there is no such file."""
    try:
        committed = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Stale(f"{path}: is not there; run `make crd` in a clone of the project") from error
    if difference := drift(committed, file):
        raise Stale(f"{file}: differs from the models; run `make crd`\n{difference}")
