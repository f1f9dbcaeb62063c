"""Our training step of voice cloning beside a plain loop over the stock models, in one run: tokens a second, memory.

    python benchmarks/accept_cloning_speed.py [--batches 12] [--turns 2] [--threads 1]

`make accept-cloning-speed` runs it. Both builds train one epoch of the same utterances from the same weights, in
float32, with the same batch size, and take turns, each turn a process of its own: `step_cloner.py` as the engine takes
it, `step_stock.py` in the style of the family's public trainers. Tokens are places that are no padding. Before it is
measured, both builds' losses of one batch are compared. Writes results/cloning-speed.json.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cloning_steps
import record
import step_stock
import torch
from record import Row
from step_turns import Turns, peak, turn

from speech_trainer.data.sequences import collate
from speech_trainer.models.cloner import Cloner

OURS, THEIRS = "step_cloner", "step_stock"
FASTER, LEANER = 2.0, 0.6


def main() -> int:
    """Compare, take turns, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batches", type=int, default=12)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    before = record.machine()
    spoken = cloning_steps.utterances(asked.batches * cloning_steps.BATCH, seed=0)
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        for backbone in ("V3", "V2"):
            torch.save({"backbone": backbone, "utterances": spoken}, Path(name) / backbone)
            figures[backbone] = {
                "losses": losses(backbone, spoken),
                "turns": in_turns(Path(name) / backbone, asked),
            }
    rows = [row for backbone, found in figures.items() for row in rows_of(backbone, found, spoken)]
    record.show(rows)
    return 0 if record.write("cloning-speed", before, figures, rows) else 1


def losses(backbone: str, spoken: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Of one batch without padding, where the mean of means is the mean: both builds must say the same."""
    kind = cloning_steps.kind_of(backbone)
    members = [cloning_steps.laid(kind, spoken[0])]
    columns = collate(members, padding=0)
    with torch.no_grad():
        ours = Cloner(cloning_steps.fresh(kind), 0.0)(columns)
        model = step_stock.plain(backbone, cloning_steps.fresh(kind))
        tokens, real, labels, rows, is_row = step_stock.padded(members)
        theirs = step_stock.loss_of(model(tokens, real, rows, is_row).float(), labels)
    by_book = (columns.labels >= 0).sum(dim=0)
    return {"ours": float((ours.books / by_book).mean()), "theirs": float(theirs)}


def in_turns(data: Path, asked: argparse.Namespace) -> Turns:
    """Each build so many times."""
    turns: Turns = {OURS: [], THEIRS: []}
    for _ in range(asked.turns):
        for build, found in turns.items():
            one = turn(build, Path(sys.executable), data, asked.batches, asked.threads)
            found.append(one)
            cpu = sum(found[-1]["seconds"])
            print(
                f"{data.name}, {build}: {sum(found[-1]['given']) / cpu:.0f} tokens/CPU s",
                flush=True,
            )
    return turns


def pace(turns: Sequence[Mapping[str, Any]]) -> float:
    """Tokens a CPU second, the median of the turns."""
    return statistics.median(sum(one["given"]) / sum(one["seconds"]) for one in turns)


def rows_of(backbone: str, found: Mapping[str, Any], spoken: Sequence[dict[str, Any]]) -> list[Row]:
    """Promises first, then where the ratio comes from."""
    ours, theirs = (found["turns"][build] for build in (OURS, THEIRS))
    ratio, lean = pace(ours) / pace(theirs), peak(ours) / peak(theirs)
    said = found["losses"]
    rows = [
        Row(f"{backbone}: tokens per CPU second, over the plain loop's",
            f"{ratio:.2f} × ({pace(ours):.0f} and {pace(theirs):.0f})", f"≥ {FASTER:g} ×", ratio >= FASTER),
        Row(f"{backbone}: peak memory, over the plain loop's",
            f"{lean:.2f} × ({peak(ours):.2f} and {peak(theirs):.2f} GiB)", f"≤ {LEANER:g} ×", lean <= LEANER),
        Row(f"{backbone}: loss of one utterance, ours and the plain loop's",
            f"{said['ours']:.5f} and {said['theirs']:.5f}", "equal", abs(said["ours"] - said["theirs"]) < 1e-4),
    ]  # fmt: skip
    for stage in ours[0]["stages"]:
        both = [statistics.fmean(one["stages"][stage] for one in side) for side in (ours, theirs)]
        rows.append(Row(f"{backbone}: {stage}, CPU s a step", f"{both[0]:.2f} and {both[1]:.2f}"))
    return [*rows, padding_row(backbone, spoken)]


def padding_row(backbone: str, spoken: Sequence[dict[str, Any]]) -> Row:
    """What both orders pad."""
    kind = cloning_steps.kind_of(backbone)
    lengths = [cloning_steps.laid(kind, one).length for one in spoken]
    ours, theirs = (padded(lengths, order) for order in cloning_steps.orders(spoken))
    return Row(f"{backbone}: padding, of all places", f"{ours:.0%} and {theirs:.0%}")


def padded(lengths: Sequence[int], order: Sequence[int]) -> float:
    """Share of places that hold nothing."""
    size = cloning_steps.BATCH
    cut = [[lengths[i] for i in order[n : n + size]] for n in range(0, len(order), size)]
    return 1.0 - sum(lengths) / sum(max(batch) * len(batch) for batch in cut)


if __name__ == "__main__":
    sys.exit(main())
