"""`speechtrain replay FILE…`: what would each rule have said of a run that is over, and at which step?

Starts fast and prints what it has when a file is done: two hundred files are one call, and none of them is held.
"""

from __future__ import annotations

import dataclasses
import gc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from speech_cli.errors import BadData, UserError
from speech_cli.recordings import FORMATS, KINDS, Recording
from speech_contract import exit_codes
from speech_contract.codec import camel, from_document
from speech_contract.errors import ContractError
from speech_contract.findings import SEVERITY_ORDER
from speech_contract.stated import Expectation
from speech_contract.thresholds import Thresholds
from speech_contract.values import Value, frozen
from speech_health.replay import Fired, Replayed, replay

if TYPE_CHECKING:
    from rich.table import Table

DETAILED: Final = (
    10  # files at most whose findings are told one by one; of more there is the table alone
)


@frozen
class Judged(Value):
    """What is kept of a file."""

    name: str
    format: str
    notes: list[str]
    result: Replayed


def _list_formats(context: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked:
        for name, what in FORMATS.items():
            click.echo(f"{name}: {what}")
        click.echo("gzip, UTF-8 and UTF-16 each; a format is told by content, not by suffix")
        context.exit()


@click.command(
    help=f"""Show when each health rule would have fired on the logs FILE…

    Reads {KINDS}. Exits with 1 when something critical would have fired, else with 65 when a file could not
    be read; the others are judged all the same."""
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path),
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="RULE.FIELD=VALUE",
    help="A threshold of spec.health, as in zeroLoss.onExceeded=Warn or expect.vqLoss.max=2.0; may be repeated.",
)
@click.option(
    "--list-formats",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_formats,
    help="Name the formats that are read, and exit.",
)
@click.option("-o", "--output", type=click.Choice(["json"]), help="Print the answer as JSON.")
@click.option("--plain", is_flag=True, help="Plain lines without colour.")
@click.pass_context
def command(
    context: click.Context,
    files: tuple[Path, ...],
    settings: tuple[str, ...],
    output: str | None,
    plain: bool,
) -> None:
    """Judge every file by itself."""
    limits = thresholds_of(settings)
    gc.freeze()  # modules stay: a hundred thousand samples need not look at them again and again
    judged: list[Judged] = []
    refused = 0
    for found in _judged(files, limits):
        if isinstance(found, BadData):
            refused += 1
            click.echo(f"Error: {found.message}", err=True)
        else:
            judged.append(found)
    (_emit if output else _show)(judged, plain)
    if any(one.result.critical for one in judged):
        context.exit(exit_codes.EXIT_ERROR)
    if refused:
        context.exit(exit_codes.EXIT_BAD_DATA)


def _judged(files: Sequence[Path], limits: Thresholds) -> Iterator[Judged | BadData]:
    """One file after another; what can't be read says why."""
    for path in files:
        recording = Recording(path)
        try:
            result = replay(recording.samples(), limits)
        except BadData as error:
            yield error
        else:
            yield Judged(str(path), recording.format, recording.notes, result)


def thresholds_of(settings: Sequence[str]) -> Thresholds:
    """`zeroLoss.forSteps=30` → thresholds. Raises UserError with field, value, rule and remedy."""
    if not settings:
        return Thresholds()
    document: dict[str, Any] = {}
    for setting in settings:
        field, sign, value = setting.partition("=")
        rule, dot, inner = field.strip().partition(".")
        component, _, name = inner.rpartition(".")  # of `expect.vqLoss.max`
        if not (sign and dot and name):
            raise UserError(
                f"--set: {setting!r} is no setting; write RULE.FIELD=VALUE, as in zeroLoss.forSteps=30"
            )
        section = document.setdefault(rule, {})
        target = section.setdefault(component, {}) if component else section
        target[name] = _typed(rule, name, value.strip())
    try:
        return from_document(Thresholds, document)
    except ContractError as error:
        raise UserError(f"--set: {error}") from error


def _typed(rule: str, name: str, value: str) -> str | int:
    """A whole number where the threshold is one: ratios are strings."""
    sections = {camel(field.name): field.name for field in dataclasses.fields(Thresholds)}
    section: Any = getattr(Thresholds(), sections.get(rule, ""), None)
    section = Expectation if section == {} else section
    fields = dataclasses.fields(section) if dataclasses.is_dataclass(section) else ()
    kinds = {camel(field.name): field.type for field in fields}
    return int(value) if kinds.get(name) == "int" and value.lstrip("-").isdecimal() else value


def _emit(judged: Sequence[Judged], plain: bool) -> None:
    """Findings a file as JSON on standard output; what else is to be said on standard error."""
    import json

    from speech_contract.codec import to_document

    findings = {one.name: [to_document(f) for f in one.result.findings] for one in judged}
    click.echo(json.dumps(findings, indent=2, ensure_ascii=False, allow_nan=False))
    for one in judged:
        for note in one.notes:
            click.echo(f"{one.name}: {note}", err=True)


def _show(judged: Sequence[Judged], plain: bool) -> None:
    """A line or a table for people; rich is loaded where there is a table to draw."""
    if len(judged) == 1 and not judged[0].result.findings:
        click.echo(_title(judged[0]))
        return
    if not judged:
        return
    from rich.text import Text

    from speech_cli.console import make_console, say

    console = make_console(plain=plain)
    if len(judged) > 1:
        console.print(_summary(judged))
    told = [one for one in judged if one.result.findings or len(judged) == 1]
    for one in told if len(judged) <= DETAILED else ():
        say(console, [Text(_title(one), style="bold")])
        console.print(_table(one.result.findings))


def _title(one: Judged) -> str:
    result = one.result
    said = f"{len(result.findings)} finding(s)" if result.findings else "no rule fires"
    runs = f" of {result.runs} runs" if result.runs > 1 else ""
    notes = f" ({'; '.join([one.format, *one.notes])})"
    return (
        f"{one.name}: {result.reports} report(s){runs} up to step {result.last_step}, {said}{notes}"
    )


def _summary(judged: Sequence[Judged]) -> Table:
    """A row a file."""
    shown = _columns("FILE", "FORMAT", "REPORTS", "STEP", "WORST", "RULES", "NOTE")
    for one in judged:
        found = one.result.findings
        worst = max((f.severity for f in found), key=SEVERITY_ORDER.__getitem__, default=None)
        rules = dict.fromkeys(fired.rule.value for fired in found)
        shown.add_row(
            one.name,
            one.format,
            str(one.result.reports),
            "" if one.result.last_step is None else str(one.result.last_step),
            _painted("" if worst is None else worst.value),
            ", ".join(rules),
            "; ".join(one.notes),
        )
    return shown


def _columns(*names: str) -> Table:
    from rich.table import Table

    shown = Table(box=None, pad_edge=False, show_edge=False)
    for name in names:
        shown.add_column(name, overflow="fold", no_wrap=name not in ("EVIDENCE", "NOTE", "FILE"))
    return shown


def _painted(word: str) -> Any:
    from rich.text import Text

    from speech_cli.rendering import words

    return Text(word, style=words.style(word))


def _table(findings: Sequence[Fired]) -> Table:
    shown = _columns("STEP", "RULE", "SEVERITY", "STATUS", "ACTION", "EVIDENCE")
    for fired in findings:
        shown.add_row(
            "" if fired.step is None else str(fired.step),
            fired.rule.value,
            _painted(fired.severity.value),
            fired.status.value,
            fired.action.value,
            fired.evidence,
        )
    return shown
