"""`speechtrain preflight FILE`: the checks before the first step alone, on this machine, by the engine itself.

The job runs as `run` would run it, with one rank, in a state of its own that is thrown away, and ends after its
preflight. What it wrote lies in the folder `preflight` of the job's run directory; nothing else there is touched.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from speech_cli import local, manifest
from speech_cli.commands.options import file_argument, json_option, plain_option, runtime_option
from speech_cli.commands.run import volume_folders
from speech_cli.console import emit, make_console, say
from speech_cli.errors import UserError
from speech_cli.rendering import verdict, words
from speech_cli.rendering.cause import cause_of
from speech_cli.rendering.view import Document, mapping, objects, view_of
from speech_cli.run_directory import RunDirectory
from speech_cli.watching import watcher_for
from speech_contract import env, outcome, paths
from speech_contract.preflight import PreflightReport

COLUMNS = ("CHECK", "WHAT", "MEASURED", "EXPECTED", "VERDICT", "REMEDY")


@click.command()
@file_argument
@click.option("--ranks", default=1, show_default=True, type=click.IntRange(1, 64),
              help="Processes on this machine, whatever the manifest says.")  # fmt: skip
@click.option("--volume", "volumes", multiple=True, metavar="NAME=DIR",
              help="Folder that stands for a volume of the manifest; may be repeated.")  # fmt: skip
@runtime_option
@json_option
@plain_option
def command(
    file: Path,
    ranks: int,
    volumes: tuple[str, ...],
    runtime: Path | None,
    output: str | None,
    plain: bool,
) -> None:
    """Check the SpeechTrainingJob in FILE without training it.

    Real model, real batches, this machine: what each check measured and expected, and what to do. Exits with 0, or
    with 44 when a check failed; other codes as in docs/exit-codes.md when it did not come to the checks.
    """
    began = time.monotonic()
    document = alone(manifest.load(file, runtime), ranks)
    folders = _all_volumes(document, volume_folders(volumes))
    console = make_console(plain=plain)
    with tempfile.TemporaryDirectory(prefix="speechtrain-") as root:
        watcher = watcher_for(make_console(plain=plain, stderr=True), plain=True)
        with watcher:
            place = local.DEFAULT_NAMESPACE
            code = local.run(document, file, place, False, folders, watcher, Path(root))
        ended = watcher.document or document
        folder = RunDirectory(local.run_dir(ended, place, Path(root)))
        told = local.outcomes(place, view_of(ended).name, Path(root))
    report = folder.preflight() if code in (outcome.EXIT_DONE, outcome.EXIT_PREFLIGHT) else None
    if output:
        emit({"exitCode": code, "report": report, "seconds": time.monotonic() - began}, output)
    elif report is not None:
        show(console, report, folder.root / paths.PREFLIGHT, time.monotonic() - began)
    else:
        say(console, verdict.failed_lines(view_of(ended), cause_of(ended, told), code, {}))
    raise SystemExit(code)


def alone(document: Document, ranks: int) -> dict[str, Any]:
    """The job as it runs for its preflight. Raises UserError for a recipe that has none."""
    if "custom" in mapping(document, "spec", "recipe"):
        raise UserError(
            "spec.recipe: 'custom' has no preflight, only recipes of speechtrain know what to measure; "
            "start it with `speechtrain run`: the rules watch it from its first step"
        )
    changed: dict[str, Any] = json.loads(json.dumps(document))
    spec = changed.setdefault("spec", {})
    uri = str(mapping(spec, "checkpoint").get("uri", "")).rstrip("/")
    if uri:
        spec["checkpoint"] = {**spec["checkpoint"], "uri": f"{uri}/{paths.PREFLIGHT_ALONE}"}
    trainer = spec["trainer"] = dict(mapping(spec, "trainer"))
    given = [item for item in objects(trainer, "env") if item.get("name") != env.PREFLIGHT_ONLY]
    trainer["env"] = [*given, {"name": env.PREFLIGHT_ONLY, "value": "1"}]
    spec |= {"numNodes": 1, "nprocPerNode": ranks}
    # Failing once is the answer.
    spec["runPolicy"] = {**mapping(spec, "runPolicy"), "suspend": False, "restarts": {"max": 0}}
    return changed


def _all_volumes(document: Document, given: Mapping[str, Path]) -> dict[str, Path]:
    """Volumes that are not given lie where `run` keeps them, not in the state that is thrown away."""
    usual = {
        str(volume.get("name")): local.state_root() / "volumes" / str(volume.get("name"))
        for volume in objects(document, "spec", "pod", "volumes")
    }
    return {**usual, **given}


def show(console: Console, report: PreflightReport, path: Path, seconds: float) -> None:
    """The table, the verdict with its time, and where it is kept."""
    console.print(_table(report), soft_wrap=False)
    say(console, _last_lines(report, path, seconds))


def _table(report: PreflightReport) -> Table:
    shown = Table(*COLUMNS, box=None, pad_edge=False, header_style="bold")
    for column in shown.columns:
        column.overflow = "fold"
    for row in report.results:
        rank = "" if row.rank is None else f"rank {row.rank}: "
        mark = Text(row.mark.value, style=words.style(row.mark.value))
        shown.add_row(
            row.check.value, rank + row.field, row.measured, row.expected, mark, row.remedy
        )
    return shown


def _last_lines(report: PreflightReport, path: Path, seconds: float) -> Iterator[str]:
    checks = words.plural(report.checks, "check")
    counted = f"{checks}, {len(report.failed)} failed, {words.plural(report.warnings, 'warning')}"
    yield f"preflight: {report.verdict.value} in {report.seconds:.1f} s ({seconds:.1f} s with its start); {counted}"
    yield f"kept in {path}"
