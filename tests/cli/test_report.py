"""`speechtrain report`: of a job, a run directory, a foreign log; and what it says when it can't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from speech_cli.recordings import tensorboard
from speech_contract import paths
from speech_telemetry.report import event_file
from speech_telemetry.report.writing import write_run

Call = Callable[..., Result]
Make = dict[str, Callable[..., Any]]


def data_of(page: Path) -> dict[str, Any]:
    """The block that the page's script draws."""
    text = page.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    found: dict[str, Any] = json.loads(text[start : text.index("</script>", start)])
    return found


def run_directory(folder: Path) -> Path:
    """Two steps of one attempt."""
    path = paths.series_file(folder, 1)
    path.parent.mkdir(parents=True)
    rows = [{"step": step, "time": 1.0 + step, "losses": {"total": 1.0 / step}} for step in (1, 2)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_run_directory_gets_its_page(call: Call, here: Path) -> None:
    folder = run_directory(here / "run")
    answer = call("report", "run")
    assert (answer.exit_code, answer.output) == (0, "report: run/report.html\n")
    assert data_of(folder / paths.REPORT)["numbers"]["losses"] == {"total": 0.5}


def test_a_job_of_this_machine_is_told_as_why_tells_it(
    call: Call, runs: Any, make: Make, here: Path
) -> None:
    runs.jobs = {"voice": make["nan"]()}
    run_directory(runs.run_dir)
    assert call("report", "voice", "--out", "page.html").exit_code == 0
    page = (here / "page.html").read_text(encoding="utf-8")
    for line in call("why", "voice").output.splitlines()[1:]:
        assert line[10:].replace("`", "") in page.replace("`", ""), line


GOODPUT = {"ratio": "0.900", "queuedSeconds": 10, "startupSeconds": 10, "productiveSeconds": 90}


def test_where_the_time_went_is_a_bar_of_the_numbers_that_status_tells(
    call: Call, runs: Any, make: Make, here: Path
) -> None:
    runs.jobs = {"voice": make["job"]("Complete", goodput=GOODPUT)}
    run_directory(runs.run_dir)
    call("report", "voice", "--out", "page.html")
    page = (here / "page.html").read_text(encoding="utf-8")
    said = data_of(here / "page.html")["goodput"]
    assert said["ratio"] == "0.900"
    assert {n: s for n, s in said["seconds"].items() if s} == {
        "queued": 10,
        "startup": 10,
        "productive": 90,
    }
    assert "productive 1m30s, 81.8%" in page
    (told,) = [line for line in call("status", "voice").output.splitlines() if "goodput" in line]
    assert "0.900: productive 1m30s, startup 10s; queued 10s" in told
    assert page.count('class="part-') == 6  # three parts, in the bar and below it


def test_a_job_that_has_ended_gets_its_time_into_the_page_that_its_trainer_wrote(
    call: Call, runs: Any, make: Make, here: Path
) -> None:
    document = make["job"]("Complete", goodput=GOODPUT)
    runs.jobs, runs.updates = {"voice": document}, [(document, None)]
    run_directory(runs.run_dir)
    write_run(runs.run_dir, 1.0)
    assert data_of(runs.run_dir / paths.REPORT)["goodput"]["ratio"] == ""
    assert call("resume", "voice", "--plain").exit_code == 0
    assert data_of(runs.run_dir / paths.REPORT)["goodput"]["ratio"] == "0.900"


def test_a_bare_name_is_a_job_before_it_is_a_directory(
    call: Call, runs: Any, make: Make, here: Path, state: Path
) -> None:
    runs.jobs = {"voice": make["complete"]()}
    runs.run_dir = run_directory(here / "voice")
    (state / "default" / "voice").mkdir(parents=True)
    call("report", "voice")
    assert "voice: Complete, health Healthy" in (here / "voice/report.html").read_text()
    call("report", "./voice")
    assert "voice: Complete, health Healthy" not in (here / "voice/report.html").read_text()


def test_a_foreign_log_is_judged_and_its_spike_and_nan_are_shown(call: Call, here: Path) -> None:
    losses = [str(2 - step / 1000) for step in range(300)]
    losses[150], losses[200:300] = "900", ["nan"] * 100
    rows = "".join(f"{step},{loss},1.0\n" for step, loss in enumerate(losses, start=1))
    (here / "metrics.csv").write_text("step,loss,grad_norm\n" + rows, encoding="utf-8")
    answer = call("report", "metrics.csv")
    assert (answer.exit_code, answer.output) == (0, "report: metrics.csv.report.html\n")
    data = data_of(here / "metrics.csv.report.html")
    (line,) = data["charts"][0]["lines"]
    assert max(y for y in line["y"] if y is not None) == 900
    assert line["bad"] == [[201, 300, "NaN", 100]]
    assert "NonFinite" in {mark["text"].partition(":")[0] for mark in data["marks"]}


def test_each_run_of_a_foreign_file_is_an_attempt(call: Call, here: Path) -> None:
    steps = [*range(1, 41), *range(1, 21)]
    (here / "log.csv").write_text("step,loss\n" + "".join(f"{s},{1 + 1 / s}\n" for s in steps))
    call("report", "log.csv")
    attempts = data_of(here / "log.csv.report.html")["attempts"]
    assert [(one["firstStep"], one["lastStep"]) for one in attempts] == [(1, 40), (1, 20)]


def test_curves_go_to_tensorboard_as_the_page_draws_them(call: Call, here: Path) -> None:
    folder = here / "run"
    rows = [
        {"step": 1, "time": 10.0, "losses": {"total": 2.0}, "gradientNorm": 0.5},
        {"step": 2, "time": 11.0, "losses": {"total": "nan"}},
        {"step": 3, "time": 12.0, "losses": {"total": 9.0}},
        {"step": 2, "time": 13.0, "losses": {"total": 1.5}, "evaluation": {"cer": 0.25}},
    ]
    path = paths.series_file(folder, 1)
    path.parent.mkdir(parents=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    answer = call("report", "run", "--tensorboard", "board")
    assert answer.exit_code == 0, answer.output
    found = tensorboard((here / "board" / event_file.NAME).read_bytes())
    assert found == [
        {"step": 1, "losses/total": 2.0, "gradientNorm": 0.5},
        {"step": 2, "losses/total": 1.5, "scores/cer": 0.25},
    ]


def test_the_checksum_is_that_of_the_standard() -> None:
    """The vectors of RFC 3720, appendix B.4."""
    vectors = {bytes(32): 0x8A9136AA, b"\xff" * 32: 0x62A8AB43, bytes(range(32)): 0x46DD794E}
    assert {data: event_file.crc32c(data) for data in vectors} == vectors


def test_a_place_that_tensorboard_cannot_have_is_named(call: Call, here: Path) -> None:
    run_directory(here / "run")
    (here / "board").write_text("")
    answer = call("report", "run", "--tensorboard", "board/below")
    assert answer.exit_code == 64
    assert "Error: --tensorboard: board/below cannot be written" in answer.output


def test_what_is_there_and_not_ours_is_left(call: Call, here: Path) -> None:
    run_directory(here / "run")
    (here / "mine.html").write_text("mine")
    answer = call("report", "run", "--out", "mine.html")
    assert (answer.exit_code, (here / "mine.html").read_text()) == (64, "mine")
    assert (
        "Error: --out: mine.html: is no report of ours, so it stays; name another file"
        in answer.output
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["empty"], "known:"),  # a directory without anything that is read
        (["vioce"], "did you mean voice?"),
        (["run", "--out", "nowhere/page.html"], "cannot be written (No such file or directory)"),
        (["voice"], "has written nothing yet"),
    ],
)
def test_a_wrong_call_says_what_to_do(
    call: Call, runs: Any, make: Make, here: Path, words: list[str], said: str
) -> None:
    runs.jobs = {"voice": make["job"]()}
    runs.run_dir = here / "not-yet"
    (here / "empty").mkdir()
    run_directory(here / "run")
    answer = call("report", *words)
    assert answer.exit_code in (64, 65)
    assert said in answer.output


def test_a_clusters_job_is_told_where_its_volume_is_mounted(
    call: Call, cluster: Any, make: Make, here: Path
) -> None:
    cluster.jobs(make["job"](goodput=GOODPUT))
    run_directory(here / "mounted")
    answer = call("report", "voice", "-n", "speech", "--directory", "mounted")
    assert (answer.exit_code, answer.output) == (0, "report: mounted/report.html\n")
    assert data_of(here / "mounted/report.html")["goodput"]["seconds"]["productive"] == 90


def test_a_job_of_this_machine_needs_no_directory(
    call: Call, runs: Any, make: Make, here: Path
) -> None:
    runs.jobs = {"voice": make["job"]()}
    answer = call("report", "voice", "--directory", ".")
    assert answer.exit_code == 64
    assert "--directory: voice is a job of this machine; leave the option out" in answer.output


def test_of_a_clusters_job_it_says_where_the_page_lies(
    call: Call, cluster: Any, make: Make
) -> None:
    cluster.jobs(make["job"]())
    answer = call("report", "voice", "-n", "speech")
    assert answer.exit_code == 64
    assert (
        "kubectl exec -n speech voice-master-0 -c pytorch -- cat run/report.html > report.html"
        in answer.output
    )
