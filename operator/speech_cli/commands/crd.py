"""`speechtrain crd`: print CRDs or admission policies as the models generate them, or compare with committed files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from speech_cli.errors import Stale
from speech_cli.extras import lazily

MODULES: Final = ("crd", "runtime_crd", "admission")  # each renders one file


@click.command()
@click.option(
    "--check", is_flag=True, help="Compare with the committed files; exit with 1 if it differs."
)
@click.option(
    "--runtimes", "what", flag_value="runtime_crd", help="Those of both kinds of runtimes instead."
)
@click.option(
    "--policy", "what", flag_value="admission",
    help="The ValidatingAdmissionPolicies that refuse mistyped fields instead.",
)  # fmt: skip
def command(check: bool, what: str | None) -> None:
    """Print the CustomResourceDefinition of SpeechTrainingJob."""
    if not check:
        click.echo(_module(what or MODULES[0]).render(), nl=False)
        return
    for module in map(_module, MODULES):
        root = Path(str(module.__file__)).resolve().parents[3]
        for file in module.FILES:
            _compare(root / file, file, module.drift)
            click.echo(f"{file} is what the models say")


def _module(name: str) -> Any:
    return lazily(f"speech_contract.api.{name}", "cli")


def _compare(path: Path, file: str, drift: Callable[[str, str], str]) -> None:
    """Raises Stale with the difference, or when there is no such file."""
    try:
        committed = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise Stale(f"{path}: is not there; run `make crd` in a clone of the project") from error
    if difference := drift(committed, file):
        raise Stale(f"{file}: differs from the models; run `make crd`\n{difference}")
