"""`speechtrain top`: the table, its order, once where no terminal is, again and again where one is."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from api_double import ApiDouble
from click.testing import Result
from rich.console import Console

from speech_cli import keys
from speech_cli.commands import top
from speech_cli.errors import ClusterProblem
from speech_cli.rendering import board
from speech_cli.rendering.view import view_of

Call = Callable[..., Result]
Make = dict[str, Callable[..., Any]]
NUMBERS = {
    "step": 20, "totalSteps": 800, "loss": "nan", "learningRate": "0.0002",
    "audioSecondsPerSecond": "31.4", "etaSeconds": 151, "heardAt": "2026-01-01T00:00:00Z",
}  # fmt: skip


def named(document: Any, name: str) -> Any:
    document["metadata"]["name"] = name
    return document


def test_running_jobs_come_first_and_only_they_have_speed(make: Make) -> None:
    documents = [
        named(make["job"]("Complete", progress=NUMBERS), "a"),
        named(make["job"]("Suspended", progress=NUMBERS), "b"),
        named(make["job"]("Running", progress=NUMBERS), "z"),
    ]
    rows = board.rows(map(view_of, documents), 1767225600.0 + 20)
    assert [row.name for row in rows] == ["z", "b", "a"]
    assert [row.audio_seconds_per_second for row in rows] == [31.4, None, None]
    assert [row.eta_seconds for row in rows] == [151, None, None]
    assert rows[0].heard_seconds_ago == 20


def test_here_it_is_printed_once(call: Call, runs: Any, make: Make) -> None:
    job = make["job"](progress=NUMBERS, health={"verdict": "Warning"}, goodput={"ratio": "0.982"})
    runs.jobs = {"voice": job}
    header, row = call("top").output.splitlines()
    assert header.split() == list(board.COLUMNS)
    assert row.split()[:9] == [
        "voice", "Running", "20/800", "0.0002", "NaN", "Warning", "31.4", "2m31s", "0.982"
    ]  # fmt: skip


def test_in_a_cluster_as_json(call: Call, make: Make, cluster: ApiDouble) -> None:
    cluster.jobs(make["complete"]())
    (row,) = json.loads(call("top", "-o", "json").stdout)["jobs"]
    assert row == {
        "name": "voice", "namespace": "speech", "state": "Complete", "step": 800, "totalSteps": 800,
        "learningRate": None, "loss": 41.5, "health": "Healthy", "audioSecondsPerSecond": None,
        "etaSeconds": None, "goodput": None, "heardSecondsAgo": None,
    }  # fmt: skip


def test_all_namespaces_and_none(call: Call, runs: Any, make: Make) -> None:
    assert "no jobs in namespace 'default'" in call("top").output
    runs.jobs = {"voice": make["job"]()}
    assert call("top", "-A").output.split()[:2] == ["NAMESPACE", "NAME"]
    assert call("top", "-A", "-n", "x").exit_code == 2


def printed(make: Make, width: int) -> list[str]:
    job = make["job"](progress=NUMBERS, health={"verdict": "Warning"}, goodput={"ratio": "0.982"})
    screen = io.StringIO()
    rows = board.rows([view_of(job)], 1767225600.0 + 20)
    Console(file=screen, width=width).print(board.table(rows, width))
    return screen.getvalue().splitlines()


def test_a_narrow_terminal_is_spared_the_least_columns_and_no_word_is_cut(make: Make) -> None:
    header, row = printed(make, 100)
    assert header.split() == list(board.COLUMNS)
    whole = set(row.split())
    for width in range(34, 100):
        header, row = printed(make, width)
        shown = header.split()
        assert set(row.split()) <= whole
        assert shown == [name for name in board.COLUMNS if name in shown]
        assert {"NAME", "STATE", "HEALTH"} <= set(shown)
    header = printed(make, 60)[0]
    assert header.split() == ["NAME", "STATE", "STEP", "LOSS", "HEALTH", "ETA", "GOODPUT", "HEARD"]


@pytest.mark.parametrize(
    ("typed", "ends"), [(b"q", True), (b"xQ", True), (b"", True), (b"x", False)]
)
def test_q_ends_it_and_other_keys_do_not(typed: bytes, ends: bool) -> None:
    keys_of, keyboard = os.pipe()
    os.write(keyboard, typed)
    if not typed:
        os.close(keyboard)  # hung up
    try:
        with pytest.raises(KeyboardInterrupt) if ends else contextlib.nullcontext():
            keys.pause(keys_of, 0.01)
    finally:
        os.close(keys_of)


def test_where_no_terminal_is_no_key_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("q"))
    with keys.listening() as found:
        assert found is None
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    keys.pause(None, 2.0)
    assert slept == [2.0]


class Jobs:
    """A place whose second answer fails."""

    def __init__(self, make: Make) -> None:
        self.answers = iter([[make["job"]()], ClusterProblem("no answer"), [make["complete"]()]])

    def jobs(self, *, everywhere: bool) -> Any:
        answer = next(self.answers)
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_it_draws_again_until_it_is_stopped_and_bears_a_silent_api_server(make: Make) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=120)
    looks = iter([None, None, None])

    def pause() -> None:
        if next(looks, "no more") is not None:
            raise KeyboardInterrupt

    top.follow(console, Jobs(make), [make["nan"]()], everywhere=False, pause=pause)  # type: ignore[arg-type]
    drawn = screen.getvalue()
    order = [drawn.index(word) for word in ("Failed", "Running", "no answer", "Complete")]
    assert order == sorted(order)


@pytest.mark.parametrize("every", ["0", "0.1", "often"])
def test_a_pause_that_is_none(call: Call, runs: Any, every: str) -> None:
    assert call("top", "--every", every).exit_code == 2
