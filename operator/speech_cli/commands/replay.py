"""`speechtrain replay FILE…`: what would each rule have said of a run that is over, and at which step?"""

from __future__ import annotations

from pathlib import Path

import click
from rich.table import Table
from rich.text import Text

from speech_cli.commands.options import json_option, plain_option
from speech_cli.console import emit, make_console, say
from speech_cli.recordings import KINDS, samples_of
from speech_cli.rendering import words
from speech_contract import outcome
from speech_health.replay import Fired, Replayed, replay


@click.command(
    help=f"""Show when each health rule would have fired on the logs FILE…

    Reads {KINDS}. Exits with 1 when something critical would have fired."""
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@json_option
@plain_option
@click.pass_context
def command(
    context: click.Context, files: tuple[Path, ...], output: str | None, plain: bool
) -> None:
    """Judge every file by itself."""
    judged = {str(path): replay(samples_of(path)) for path in files}
    if output:
        emit({name: result.findings for name, result in judged.items()}, output)
    else:
        console = make_console(plain=plain)
        for name, result in judged.items():
            say(console, [Text(_title(name, result), style="bold")])
            if result.findings:
                console.print(_table(result.findings))
    if any(result.critical for result in judged.values()):
        context.exit(outcome.EXIT_ERROR)


def _title(name: str, result: Replayed) -> str:
    said = f"{len(result.findings)} finding(s)" if result.findings else "no rule fires"
    form = f" ({result.form})" if result.form else ""
    return f"{name}{form}: {result.reports} report(s) up to step {result.last_step}, {said}"


def _table(findings: list[Fired]) -> Table:
    shown = Table(box=None, pad_edge=False, show_edge=False)
    for name in ("STEP", "RULE", "SEVERITY", "STATUS", "ACTION", "EVIDENCE"):
        shown.add_column(name, overflow="fold", no_wrap=name != "EVIDENCE")
    for fired in findings:
        shown.add_row(
            "" if fired.step is None else str(fired.step),
            fired.rule.value,
            Text(fired.severity.value, style=words.style(fired.severity.value)),
            fired.status.value,
            fired.action.value,
            fired.evidence,
        )
    return shown
