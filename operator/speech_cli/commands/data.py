"""`speechtrain data …`: words around `speech_trainer.data`, which does the work.

Whatever changes lines and no audio (`pair`, `import`) stands in `commands.data_lines`.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from speech_cli.commands import data_lines
from speech_cli.commands.options import json_option
from speech_cli.console import emit, jsonable, make_console, say
from speech_cli.extras import TRAINER as EXTRA
from speech_cli.extras import lazily, told
from speech_cli.rendering import words
from speech_cli.rendering.problems import problem_lines
from speech_contract import env, outcome
from speech_contract.errors import nearest

LANGUAGES = ("te", "hi", "en", "de")


class Language(click.Choice[str]):
    """A language that is there, or the one that was meant."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises BadParameter."""
        if value in LANGUAGES:
            return str(value)
        guess = nearest(str(value), LANGUAGES)
        remedy = f"did you mean {guess}?" if guess else f"use one of {', '.join(LANGUAGES)}"
        self.fail(f"{value!r} is not spoken; {remedy}", param, ctx)


longest_option = click.option(
    "--max-seconds", default=20.0, show_default=True,
    help="Longest utterance to be trained on: 20 with preset Base, 10 with Debug.",
)  # fmt: skip
audio_only_option = click.option(
    "--audio-only", is_flag=True, help="For recipes of audio alone: text may be missing."
)


@click.group()
def command() -> None:
    """Make, prepare and check speech to train on."""


command.add_command(data_lines.pair)
command.add_command(data_lines.bring)


@command.command()
@click.option("--language", "languages", multiple=True, default=("te",), show_default=True,
              type=Language(LANGUAGES), help="Language to speak; may be repeated.")  # fmt: skip
@click.option(
    "--speakers",
    default=1,
    show_default=True,
    type=click.IntRange(min=1),
    help="Voices per language.",
)
@click.option(
    "--sentences",
    default=144,
    show_default=True,
    type=click.IntRange(min=1),
    help="Training sentences per voice.",
)
@click.option(
    "--validation",
    default=16,
    show_default=True,
    type=click.IntRange(min=0),
    help="Held-out sentences per voice.",
)
@click.option("--seed", default=0, show_default=True, help="The same seed gives the same files.")
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for train.jsonl, validation.jsonl and wavs/.")  # fmt: skip
@json_option
@told
def synthesize(
    languages: tuple[str, ...],
    speakers: int,
    sentences: int,
    validation: int,
    seed: int,
    folder: Path,
    output: str | None,
) -> None:
    """Speak sentences with espeak-ng: speech to try everything with, no download."""
    module = lazily("speech_trainer.data.synthesize", EXTRA)
    plan = module.SynthesisPlan(
        languages=languages,
        speakers=speakers,
        utterances=sentences,
        validation=validation,
        seed=seed,
    )
    console = make_console(stderr=True)
    with _bar(console) as bar:
        task = bar.add_task("speaking", total=None)
        report = module.synthesize(
            plan,
            folder,
            on_utterance=lambda done, total: bar.update(task, completed=done, total=total),
        )
    if output:
        emit(report, output)
        return
    lines = [f"spoke {report.utterances} sentences, {words.duration(report.seconds)} of speech"]
    lines.append(f"training: {report.train}")
    if report.validation:
        lines.append(f"held out: {report.validation}")
    say(make_console(), lines)


@command.command()
@click.argument("source", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the new manifest and its wavs/.")  # fmt: skip
@click.option("--sample-rate", default=22050, show_default=True, help="Hz of the new files.")
@click.option("--max-samples", type=int, help="Stop after this many good lines.")
@longest_option
@audio_only_option
@json_option
@told
def prepare(
    source: Path,
    folder: Path,
    sample_rate: int,
    max_samples: int | None,
    max_seconds: float,
    audio_only: bool,
    output: str | None,
) -> None:
    """Make SOURCE, a manifest or a folder of audio, ready: mono, one sample rate, durations, digests."""
    module = lazily("speech_trainer.data.prepare", EXTRA)
    options = module.PrepareOptions(sample_rate, max_samples, max_seconds, not audio_only)
    with _bar(make_console(stderr=True)) as bar:
        task = bar.add_task("preparing", total=max_samples)
        report = module.prepare(
            source, folder, options, on_utterance=lambda done: bar.update(task, completed=done)
        )
    if output:
        emit(report, output)
        return
    summary = f"{report.utterances} utterances, {words.duration(report.seconds)}: {report.manifest}"
    say(make_console(), [summary, *problem_lines(report.problems, "left out")])


@command.command()
@click.argument("manifest", type=click.Path(path_type=Path))
@longest_option
@audio_only_option
@json_option
@told
def validate(manifest: Path, max_seconds: float, audio_only: bool, output: str | None) -> None:
    """Read every line and every file of MANIFEST, or of a folder of audio; exit with 65 when anything is wrong."""
    module = lazily("speech_trainer.data.validate", EXTRA)
    report = module.validate_manifest(manifest, max_seconds, needs_text=not audio_only)
    if output:
        emit({**jsonable(report), "ok": report.ok}, output)
    else:
        what, who = "readable lines", f", {words.plural(report.speakers, 'speaker')}"
        if manifest.is_dir():
            what, who = "audio files", f" ({report.other} other files, {report.hidden} hidden)"
        summary = f"{manifest}: {report.lines} {what}, {words.duration(report.seconds)} of good speech{who}"
        say(make_console(), [summary, *problem_lines(report.problems, "wrong")])
    if not report.ok:
        raise SystemExit(outcome.EXIT_BAD_DATA)


@command.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.option("--codec", "weights", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder of a DacModel, as export/ of a run, or of a HiggsAudioV2TokenizerModel.")  # fmt: skip
@click.option("--out", "folder", required=True, type=click.Path(file_okay=False, path_type=Path),
              help="Folder for the new manifest and its shards; called again, it goes on.")  # fmt: skip
@click.option(
    "--rank", envvar=env.RANK, default=0, show_envvar=True, help="This process among --world."
)
@click.option(
    "--world",
    envvar=env.WORLD_SIZE,
    default=1,
    show_envvar=True,
    help="Processes that share the work.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    help="As torch names it; auto: a GPU where there is one.",
)
@click.option("--shard-seconds", default=600.0, show_default=True, help="Audio in a shard.")
@click.option(
    "--batch-seconds", default=60.0, show_default=True, help="Audio through the model at once."
)
@click.option(
    "--max-seconds", default=60.0, show_default=True, help="Longest recording that is taken."
)
@json_option
@told
def encode(
    source: Path,
    weights: Path,
    folder: Path,
    rank: int,
    world: int,
    device: str,
    shard_seconds: float,
    batch_seconds: float,
    max_seconds: float,
    output: str | None,
) -> None:
    """Write the codes of SOURCE, a manifest or a folder of audio, and a manifest that names them."""
    module = lazily("speech_trainer.data.encode", EXTRA)
    models = lazily("speech_trainer.models.encoders", EXTRA)
    options = module.EncodeOptions(rank, world, shard_seconds, batch_seconds, max_seconds)
    encoder = models.load_encoder(weights, models.device_of(device, os.environ))
    with _Shown(make_console(stderr=True), "encoded") as shown:
        report = module.encode(source, folder, encoder, options, on_shard=shown)
    if output:
        emit(report, output)
        return
    say(make_console(), [_encoded(report), *problem_lines(report.problems, "left out")])


class _Shown:
    """A bar where somebody looks on, else a line for each shard, in which a supervisor reads a step of so many."""

    def __init__(self, console: Console, what: str) -> None:
        self._console, self._what, self._began = console, what, time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn(),
            console=console, disable=not console.is_terminal, transient=True,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> _Shown:
        self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._bar.stop()

    def __call__(self, progress: Any) -> None:
        """After each shard; `done` and `total` are seconds of audio."""
        self._bar.update(self._task, completed=progress.done, total=progress.total)
        if not self._console.is_terminal:
            spent = words.duration(time.monotonic() - self._began)
            place = f"step {progress.step} of {progress.steps}: shard {progress.shard}"
            line = f"{place} {self._what}, {words.duration(progress.done)} audio, {spent} spent"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _encoded(report: Any) -> str:
    shards = f"{words.plural(report.encoded, 'shard')} now, {report.kept} from before"
    if report.manifest is None:
        return f"{shards}; {report.missing} of other ranks are not there yet: the last one writes the manifest"
    what = (
        f"{report.utterances} utterances, {words.duration(report.seconds)}, {report.frames} frames"
    )
    alone = "; one by one: batches changed codes" if report.one_by_one else ""
    return f"{what}: {report.manifest} ({shards}{alone})"


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=console, disable=not console.is_terminal, transient=True)
