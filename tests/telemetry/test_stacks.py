"""Stacks: the user's line, and the rank that the others wait for."""

from __future__ import annotations

import pytest

from speech_contract.findings import RankRow
from speech_contract.phases import Phase
from speech_telemetry import stacks

WAITS = """Thread 0x1 (most recent call first):
  File "/usr/lib/python3.11/threading.py", line 320 in wait
  File "/usr/lib/python3.11/threading.py", line 995 in _bootstrap

Current thread 0x2 (most recent call first):
  File "/venv/lib/python3.11/site-packages/torch/distributed/distributed_c10d.py", line 2810 in all_reduce
  File "/venv/lib/python3.11/site-packages/torch/distributed/c10d_logger.py", line 83 in wrapper
  File "/app/train.py", line 42 in step
  File "/app/train.py", line 50 in <module>
"""
SLEEPS = """Current thread 0x2 (most recent call first):
  File "/app/train.py", line 17 in load
  File "/app/train.py", line 50 in <module>
"""
BACKWARD = """Current thread 0x2 (most recent call first):
  File "/venv/lib/python3.11/site-packages/torch/autograd/graph.py", line 865 in _engine_run_backward
  File "/venv/lib/python3.11/site-packages/torch/_tensor.py", line 626 in backward
  File "/app/train.py", line 44 in step
  File "/app/train.py", line 50 in <module>
"""
HOOK_SLEEPS = BACKWARD.replace("first):\n", 'first):\n  File "/app/train.py", line 9 in hook\n')


def row(rank, step=5, age=1.0, exit_code=None):
    return RankRow(rank, 0, step, Phase.TRAINING, age, True, exit_code)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param(WAITS, "train.py:42 in all_reduce", id="inside a library"),
        pytest.param(SLEEPS, "train.py:17 in load", id="in the script"),
        pytest.param("", "", id="no stack"),
        pytest.param("Segmentation fault\n", "", id="no frames"),
    ],
)
def test_the_python_line_is_the_users(text, line):
    assert stacks.python_line(text) == line


def test_the_sentence_names_rank_phase_and_line():
    assert stacks.describe(row(1), WAITS) == "rank 1 in phase Training at train.py:42 in all_reduce"
    assert stacks.describe(row(1), "") == "rank 1 in phase Training"


@pytest.mark.parametrize(
    ("rows", "texts", "who"),
    [
        pytest.param([row(0), row(1, step=4)], {0: SLEEPS, 1: WAITS}, 1, id="the lowest step"),
        pytest.param([row(0), row(1)], {0: WAITS, 1: SLEEPS}, 1, id="the one that does not wait"),
        pytest.param(
            [row(0, age=9.0), row(1)], {0: BACKWARD, 1: HOOK_SLEEPS}, 1, id="a hook that hangs"
        ),
        pytest.param([row(0), row(1, age=9.0)], {}, 1, id="the oldest stamp"),
        pytest.param([row(0), row(1, step=None)], {}, 1, id="the one without a step"),
        pytest.param([row(0, step=1, exit_code=0), row(1)], {}, 1, id="an ended one is none"),
    ],
)
def test_the_laggard(rows, texts, who):
    assert stacks.laggard(rows, texts).rank == who


def test_no_rank_no_laggard():
    assert stacks.laggard([row(0, exit_code=1)], {}) is None
