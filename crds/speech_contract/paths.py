"""Paths that two processes must agree on: in the container and in the run directory (`checkpoint.uri`)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

RUN_CONFIG_FILE: Final = "/etc/speechtrain/run.json"
LAUNCHER_DIR: Final = "/speechtrain"  # emptyDir filled by the init container for foreign images
TERMINATION_LOG: Final = "/dev/termination-log"

CHECKPOINTS: Final = "checkpoints"
ATTEMPTS: Final = "attempts"
OWNERS: Final = "owners"  # whose directory it is: see speech_telemetry.ownership
PREVIOUS: Final = "previous"  # logs and reports of jobs that were taken over from
SKIPS: Final = "skips"
MARKS: Final = "marks"  # of what `custom` scripts save by themselves
SAMPLES: Final = "samples"
RECORDINGS: Final = "recordings"  # what lay in the folders of `data` when the run first looked
LOGS: Final = "logs"
EVENTS: Final = "events.jsonl"
CONFIG: Final = "config.json"  # the effective configuration, written by rank 0
QUARANTINE: Final = "quarantine.jsonl"
BAD_STEPS: Final = "bad_steps"  # the first non-finite step of an attempt, to replay it
RESULT: Final = "result.json"  # the last evaluation, with its trivial baselines
EXPORT: Final = "export"  # the inference artifact, of the last weights
REPORT: Final = (
    "report.html"  # of the whole run, made anew at each evaluation and at an attempt's end
)
TENSORBOARD: Final = "tensorboard"  # event file of the whole run, made anew with the report
WANDB: Final = "wandb"  # what Weights & Biases keeps, and `sent.json`: up to where it was told
PREFLIGHT: Final = "preflight.json"  # the newest preflight, every row of it
PREFLIGHT_ALONE: Final = (
    "preflight"  # run directory of `speechtrain preflight`, below that of the job
)

COMMIT: Final = "COMMIT"
CONFIRMED: Final = "CONFIRMED"
QUARANTINED: Final = "QUARANTINED"
BEST: Final = "BEST"  # holds a `result.Best`


def rank_log(run_dir: Path, attempt: int, rank: int) -> Path:
    """Where the supervisor keeps a rank's output."""
    return run_dir / LOGS / f"attempt-{attempt}" / f"rank-{rank}.log"


def series_file(run_dir: Path, attempt: int) -> Path:
    """The numbers of an attempt as they came; written by the supervisor of node rank 0."""
    return run_dir / LOGS / f"attempt-{attempt}" / "series.jsonl"


def attempt_file(run_dir: Path, attempt: int) -> Path:
    """Created exclusively by rank 0 at attempt start; holds the resume target: the fence."""
    return run_dir / ATTEMPTS / f"attempt-{attempt}"


def owner_file(run_dir: Path, number: int) -> Path:
    """Created exclusively by the supervisor of node rank 0; the highest number owns the directory."""
    return run_dir / OWNERS / f"owner-{number}.json"


def previous_dir(run_dir: Path, number: int) -> Path:
    """Where the logs and reports of owner `number`'s job lie once another job took over."""
    return run_dir / PREVIOUS / f"owner-{number}"


def checkpoint_dir(run_dir: Path, step: int, attempt: int) -> Path:
    """One checkpoint; whole once its COMMIT file is there."""
    return run_dir / CHECKPOINTS / f"step-{step}.a{attempt}"


def save_file(run_dir: Path, number: int, step: int, attempt: int) -> Path:
    """What is known of the `number`-th save of `custom` scripts; its marks lie beside it, under its name."""
    return run_dir / MARKS / f"save-{number}.step-{step}.a{attempt}.json"


def bad_step_dir(run_dir: Path, attempt: int, step: int) -> Path:
    """What a replay of a non-finite step needs; whole once it is there (put in place by rename)."""
    return run_dir / BAD_STEPS / f"step-{step}.a{attempt}"


def skip_file(run_dir: Path, attempt: int, number: int) -> Path:
    """One window of sampler positions that no later step may train on."""
    return run_dir / SKIPS / f"{attempt}-{number}.json"
