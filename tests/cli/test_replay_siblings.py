"""What once was a false alarm in one form of file, in the forms of other trainers: nothing is said."""

from __future__ import annotations

import csv
import io
import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from speech_cli.recordings import Recording
from speech_health.replay import replay

Row = Mapping[str, float]


def _table(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for row in rows for name in row)))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


FILES: dict[str, Callable[[Sequence[Row]], str]] = {
    "trainer_state.json": lambda rows: json.dumps({"log_history": rows}),
    "metrics.csv": _table,
    "metrics.jsonl": lambda rows: "".join(f"{json.dumps(row)}\n" for row in rows),
    "list.json": json.dumps,
    "as printed": lambda rows: "".join(f"{dict(row)}\n" for row in rows),
}


def _policy() -> list[Row]:
    """A policy gradient's objective is 0 by construction."""
    return [
        {"loss": 0.0, "grad_norm": 0.07 + i % 7 * 1e-3, "reward": 0.3 + i / 300, "step": 5 * i + 5}
        for i in range(60)
    ]


def _equal_rewards() -> list[Row]:
    """A group of equal rewards gives no gradient."""
    still = {6, 7, 8, 19, 20, 40, 41}
    return [
        {
            "loss": 0.002 * (-1) ** i,
            "grad_norm": 0.0 if i in still else 0.7,
            "learning_rate": 4e-5,
            "reward_std": 0.0 if i in still else 0.3,
            "step": 10 * i + 10,
        }
        for i in range(60)
    ]


def _validation_batches() -> list[Row]:
    """A value for each validation batch is no evaluation."""
    chance = random.Random(1)
    return [
        row
        for i in range(300)
        for row in (
            {"step": i, "train_loss": 1 / (1 + i / 99)},
            {"step": i, "val_loss_step": 0.001 * math.exp(chance.gauss(0, 0.6))},
        )
    ]


RUNS = {"policy": _policy, "equal rewards": _equal_rewards, "batches": _validation_batches}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("run", RUNS)
def test_nothing_is_said_whatever_the_form(run: str, file: str, tmp_path: Path) -> None:
    path = tmp_path / file
    path.write_text(FILES[file](RUNS[run]()))
    result = replay(Recording(path).samples())
    assert result.findings == []
    assert result.reports >= 60
