"""`speechtrain speak RUN`: words around `speech_trainer.speaking`, which does the work."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from speech_cli.commands.options import json_option
from speech_cli.console import emit, make_console, say
from speech_cli.exports import find_export
from speech_cli.extras import TRAINER, lazily, told


@click.command()
@click.argument("run")
@click.option("--text", required=True, help="What to say.")
@click.option("--reference", default="", metavar="CLIP",
              help="Whom to speak like: an audio file, or MANIFEST.jsonl:LINE. For cloned voices.")  # fmt: skip
@click.option("--reference-text", default="", help="What is said in CLIP; a line of a manifest knows it.")  # fmt: skip
@click.option("--out", default=Path("out.wav"), show_default=True,
              type=click.Path(dir_okay=False, path_type=Path), help="WAV file to write.")  # fmt: skip
@click.option("--language", default="",
              help="Of the text, as espeak-ng names it; for voices that read phonemes.")  # fmt: skip
@click.option("--speaker", default=0, show_default=True,
              help="Number of a speaker, of a voice that was trained on several, by name from 0.")  # fmt: skip
@click.option("--codec", type=click.Path(file_okay=False, path_type=Path),
              help="Folder of the codec, where the export holds none.")  # fmt: skip
@click.option(
    "--seed",
    default=0,
    show_default=True,
    help="The same seed says the same, where a voice draws at all.",
)
@click.option("--temperature", default=0.8, show_default=True, help="0 takes the likeliest code.")
@click.option("--top-k", default=50, show_default=True, help="Codes to draw among; 0: all.")
@click.option("--top-p", default=0.95, show_default=True, help="Of the mass to draw from.")
@click.option("--max-seconds", default=30.0, show_default=True,
              type=click.FloatRange(0, min_open=True),
              help="A cloned voice that has not ended by then is cut.")  # fmt: skip
@click.option("--device", default="auto", show_default=True,
              help="As torch names it; auto: a GPU where there is one.")  # fmt: skip
@click.option("-n", "--namespace", help="Namespace of the job, where RUN is one; else default.")
@json_option
@told
def command(
    run: str, out: Path, device: str, namespace: str | None, output: str | None, **wanted: Any
) -> None:
    """Say a sentence with the voice that RUN trained.

    RUN is a job of this machine, a run directory (checkpoint.uri) or an export. Trained and cloned voices speak.
    """
    export = find_export(run, namespace)
    requests = lazily("speech_trainer.speaking.request", TRAINER)
    voices = lazily("speech_trainer.speaking.voices", TRAINER)
    on = lazily("speech_trainer.models.encoders", TRAINER).device_of(device, os.environ)
    out.parent.mkdir(parents=True, exist_ok=True)
    said = voices.speak(export, requests.Request(device=on, **wanted))
    lazily("speech_trainer.audio.files", TRAINER).write_wav(out, said.waveform, said.sample_rate)
    if output:
        answer = {"file": out, "seconds": said.seconds, "sampleRate": said.sample_rate}
        emit({**answer, "ended": said.ended, "notes": said.notes}, output)
        return
    say(make_console(), _lines(out, said))


def _lines(out: Path, said: Any) -> list[str]:
    lines = [f"{out}: {said.seconds:.2f} s at {said.sample_rate} Hz", *said.notes]
    if not said.ended:
        lines.append(
            "cut at --max-seconds: it did not end by itself; look at never_ended of the run"
        )
    return lines
