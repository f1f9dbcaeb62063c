"""`speechtrain data pair` and `data import`: lines of manifests, and no audio. Added to `commands.data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from speech_cli.commands.options import json_option
from speech_cli.console import emit, make_console, say
from speech_cli.extras import TRAINER, lazily, told
from speech_cli.rendering import words
from speech_cli.rendering.problems import problem_lines

_NAMED: Final = 5  # speakers in a sentence

dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Say what would be written, and write nothing."
)


@click.command()
@click.argument("manifest", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", "target", type=click.Path(dir_okay=False, path_type=Path),
              help="The new manifest; else MANIFEST with .paired before its ending.")  # fmt: skip
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same pairs.")
@click.option("--prefer-seconds", nargs=2, type=float, default=(3.0, 10.0), show_default=True,
              help="Shortest and longest useful reference.")  # fmt: skip
@click.option("--again", is_flag=True, help="Also for lines that have a reference.")
@dry_run_option
@json_option
@told
def pair(
    manifest: Path,
    target: Path | None,
    seed: int,
    prefer_seconds: tuple[float, float],
    again: bool,
    dry_run: bool,
    output: str | None,
) -> None:
    """Give every line of MANIFEST another recording of its speaker to be spoken like (ref_audio)."""
    module = lazily("speech_trainer.data.pairs", TRAINER)
    options = module.PairOptions(seed, *prefer_seconds, again)
    out = target or manifest.with_suffix(f".paired{manifest.suffix}")
    report = module.pair(manifest, out, options, dry_run=dry_run)
    if output:
        emit(report, output)
        return
    say(
        make_console(), [*_paired(report, options), *problem_lines(report.problems, "wrong before")]
    )


def _paired(report: Any, options: Any) -> list[str]:
    with_one = report.given + report.kept
    where = report.manifest or "nothing was written"
    lines = [
        f"{with_one} of {report.lines} lines have a reference, {report.given} from now: {where}",
        f"each recording is heard {report.most_heard} times at most; {report.outside} references are not of "
        f"{options.shortest:g} to {options.longest:g} s, {report.same_words} have the words of their line",
    ]
    if report.alone:
        names = ", ".join(alone.speaker for alone in report.alone[:_NAMED])
        more = ", …" if len(report.alone) > _NAMED else ""
        count = sum(alone.lines for alone in report.alone)
        who = words.plural(len(report.alone), "speaker")
        lines.append(
            f"left alone: {words.plural(count, 'line')} of {who} with one recording: {names}{more}"
        )
    if report.unnamed:
        lines.append(
            f"left alone: {words.plural(report.unnamed, 'line')} without speaker and reference"
        )
    if report.unproved:
        many = words.plural(report.unproved, "line")
        lines.append(f"not compared as audio: {many} with neither file nor digest")
    return lines


@click.group("import")
def bring() -> None:
    """Turn data sets of other trainers into manifests."""


@bring.command()
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--out", "target", required=True, type=click.Path(dir_okay=False, path_type=Path),
              help="The new manifest; audio stays where it is.")  # fmt: skip
@dry_run_option
@json_option
@told
def higgs(path: Path, target: Path, dry_run: bool, output: str | None) -> None:
    """Read PATH: a folder with the metadata.json of Higgs trainers, that file, or ms-swift's JSONL."""
    module = lazily("speech_trainer.data.higgs", TRAINER)
    report = module.import_higgs(path, target, dry_run=dry_run)
    if output:
        emit(report, output)
        return
    say(make_console(), [*_imported(report), *problem_lines(report.problems, "not taken")])


def _imported(report: Any) -> list[str]:
    where = report.manifest or "nothing was written"
    lines = [
        f"{words.plural(report.lines, 'line')}, {report.with_reference} with a reference: {where}"
    ]
    if report.added:
        many = words.plural(report.added, "reference")
        lines.append(f"{many} that were no samples are lines now, and targets as well")
    if report.dropped:
        lines.append(f"no place for: {words.tally(report.dropped)}")
    return lines
