"""The tables on `codec.md`, as `make accept-codec` and `make accept-codec-speed` measured. Called by `generate.py`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tables

HEADER = (
    "what",
    "SNR, dB",
    "SI-SDR, dB",
    "mel distance",
    "perplexity",
    "dead codes",
    "named before step 1",
    "named while it ran",
)
UNMEASURED = "Not measured yet: `make accept-codec` puts the table here."
UNTIMED = "Not measured yet: `make accept-codec-speed` puts the table here."
SCORES = ("snr", "si_sdr", "mel", "perplexity", "dead_codes")


def codecs(measured: Path) -> str:
    """Ours, what was trained beside it, and answers that need no training."""
    document = json.loads(measured.read_text(encoding="utf-8"))
    figures = document["figures"]
    trained = [*figures["codecs"], *figures["rivals"]]
    heard, held_out = figures["data"]["train"], figures["data"]["validation"]
    trivial = figures["codecs"][0]["baselines"]
    minutes = max(one["cpuSeconds"] for one in figures["codecs"]) / 60
    lines = [
        f"Preset Debug, {figures['codecs'][0]['steps']} steps, {minutes:.1f} CPU minutes at most, on"
        f" {heard['seconds'] / 60:.1f} minutes of synthesized speech in {len(heard['languages'])} languages by"
        f" {len(heard['speakers'])} speakers;",
        f"scored on {held_out['recordings']} sentences of {len(held_out['speakers'])} other speakers."
        f" `make accept-codec` at commit `{document['commit']}`.",
        "",
        tables.table(HEADER, [*map(_trained, trained), *map(_trivial, trivial.items())]),
    ]
    return "\n".join(lines)


def speed(measured: Path) -> str:
    """Our step beside that of descript-audio-codec."""
    document = json.loads(measured.read_text(encoding="utf-8"))
    sizes, turns = document["figures"]["sizes"], document["figures"]["turns"]
    package, one = document["figures"]["packages"][0], turns["step_dac"][0]
    steps = sum(len(turn["seconds"]) for turn in turns["step_dac"])
    lines = [
        f"A training step of `Speech24k` beside one of {package.replace('==', ' ')}, both with torch"
        f" {one['torch'].partition('+')[0]}, in turns on {one['threads']} CPU thread: batch {sizes['batch']},"
        f" {sizes['samples']} samples, {sizes['precision']}, {steps} steps each.",
        f"Seconds are CPU seconds. `make accept-codec-speed` at commit `{document['commit']}`.",
        "",
        tables.table(
            ("what", "measured", "bound"),
            [(row["name"], row["value"], _bound(row)) for row in document["table"]],
        ),
    ]
    return "\n".join(lines)


def _bound(row: Mapping[str, Any]) -> str:
    return f"{row['bound']} **missed**" if row["holds"] is False else row["bound"]


def _trained(one: Mapping[str, Any]) -> tuple[str, ...]:
    rules = dict.fromkeys(finding.partition(":")[0] for finding in one["findings"])
    return one["name"], *_cells(one["scores"]), _list(one["preflight"]), _list(rules)


def _trivial(item: tuple[str, Mapping[str, float]]) -> tuple[str, ...]:
    name, scores = item
    return name.replace("_", " "), *_cells(scores), "", ""


def _cells(scores: Mapping[str, float]) -> tuple[str, ...]:
    found = (scores.get(name) for name in SCORES)
    return tuple("" if value is None else f"{value:.3g}" for value in found)


def _list(words: Any) -> str:
    return ", ".join(f"`{word}`" for word in words) or "nothing"
