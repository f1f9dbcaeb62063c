"""`speechtrain doctor`: what of this machine and of the cluster would keep a job from running or being watched."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click
from rich.table import Table
from rich.text import Text

from speech_cli import local
from speech_cli.commands.options import (
    all_or_one,
    everywhere_option,
    json_option,
    place_options,
    plain_option,
)
from speech_cli.console import emit, make_console
from speech_cli.doctor import cluster, machine
from speech_cli.doctor.row import Row, skipped, sound
from speech_cli.place import Force, Where
from speech_cli.rendering import words
from speech_contract.exit_codes import EXIT_DONE, EXIT_ERROR

COLUMNS = ("CHECK", "RESULT", "FOUND", "REMEDY")


@click.command()
@everywhere_option
@place_options
@json_option
@plain_option
def command(everywhere: bool, where: Where, output: str | None, plain: bool) -> None:
    """Look for what would keep jobs from running or being watched.

    Checks this machine, and the cluster where there is a kubeconfig; --local or --cluster checks that one alone.
    Each check is OK, WARN, FAIL, or SKIPPED with the reason why it was not made. Exits with 1 when one is FAIL,
    else with 0. Changes nothing.
    """
    found = list(_rows(all_or_one(where, everywhere=everywhere)))
    code = EXIT_DONE if sound(found) else EXIT_ERROR
    if output:
        emit({"exitCode": code, "checks": found}, output)
    else:
        make_console(plain=plain).print(_table(found), soft_wrap=False)
    raise SystemExit(code)


def _rows(where: Where) -> Iterator[Row]:
    if where.force is not Force.CLUSTER:
        yield from machine.rows(local.state_root())
    if where.force is Force.LOCAL:
        return
    if where.force is Force.CLUSTER or where.access.configured:
        yield from cluster.rows(where)
    else:
        yield skipped("cluster", f"there is no kubeconfig at {where.access.config}")


def _table(rows: Sequence[Row]) -> Table:
    shown = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for column in shown.columns:
        column.overflow = "fold"
    for row in rows:
        mark = Text(row.mark.value, style=words.style(row.mark.value))
        shown.add_row(row.name, mark, row.reason, row.remedy)
    return shown
