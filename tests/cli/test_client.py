"""The Python client: the verbs over a fake controller, over HTTP, and one real job of this machine."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from api_double import CORE, JOBS, ApiDouble, status

from speech_cli.client import CannotCome, Client, NoSuchJob, NotFound, TimedOut, UserError
from speech_contract import paths

Make = dict[str, Callable[..., Any]]
CUSTOM = """\
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: voice}
spec:
  recipe: {custom: {}}
  checkpoint: {uri: URI}
  trainer:
    image: trainer:1
    command: [PYTHON, -u, -c, "print('step 1 loss 2.5')"]
    volumeMounts: [{name: runs, mountPath: /checkpoints}]
  pod: {volumes: [{name: runs, persistentVolumeClaim: {claimName: runs}}]}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A manifest of a script that prints one line."""
    path = tmp_path / "voice.yaml"
    text = CUSTOM.replace("PYTHON", sys.executable).replace("URI", "/checkpoints/voice")
    path.write_text(text, encoding="utf-8")
    return path


def test_reading_here(runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["nan"]()}
    client = Client.local()
    assert client.get("voice").state == "Failed"
    assert [view.name for view in client.jobs()] == ["voice"]
    assert client.document("voice") == runs.jobs["voice"]
    assert client.why("voice").exit_code == 40
    with pytest.raises(NoSuchJob, match="did you mean voice"):
        client.get("vioce")
    assert client.wait("voice", "step=15", timeout=0).step == 15
    with pytest.raises(CannotCome, match="cannot come any more: it is Failed") as caught:
        client.wait("voice")
    assert caught.value.job.verdict == "Critical"


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (lambda c: c.get(5), "name: 5 is not understood; give the name of a job"),
        (lambda c: c.why(""), "name: '' is not understood"),
        (lambda c: c.wait("voice", timeout="5s"), "timeout: '5s' is not understood; give seconds"),
        (lambda c: c.wait("voice", timeout=-1), "timeout: -1 is not understood"),
        (lambda c: c.wait("voice", timeout=float("nan")), "timeout: nan is not understood"),
        (lambda c: c.wait("voice", "step=x"), "goal: 'step=x' names no step"),
        (lambda c: c.wait("voice", 200), "goal: 200 is not understood"),
        (lambda c: c.logs("voice", tail=-1), "tail: -1 is not understood; give a whole number from 0"),
        (lambda c: c.logs("voice", rank="0"), "rank: '0' is not understood"),
        (lambda c: c.logs("voice", attempt=0), "attempt: 0 is not understood; give a whole number from 1"),
    ],
)  # fmt: skip
def test_an_argument_that_is_none(
    runs: Any, make: Make, call: Callable[[Client], Any], told: str
) -> None:
    runs.jobs = {"voice": make["job"]()}
    with pytest.raises(ValueError, match=re.escape(told)) as caught:
        call(Client.local())
    assert isinstance(caught.value, UserError)


def test_no_lines_are_no_lines(runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["job"]()}
    log = paths.rank_log(runs.run_dir, 1, 0)
    log.parent.mkdir(parents=True)
    log.write_text("one\ntwo\n", encoding="utf-8")
    client = Client.local()
    assert [list(client.logs("voice", tail=n)) for n in (0, 1)] == [[], ["two"]]


def test_a_job_that_has_ended_is_not_started_again(runs: Any, make: Make, file: Path) -> None:
    runs.jobs = {"voice": make["nan"]()}
    with pytest.raises(UserError, match="has ended as Failed; submit it under another name"):
        Client.local().submit(file)
    assert runs.calls == []


def test_a_job_that_takes_too_long(runs: Any, make: Make) -> None:
    runs.jobs = {"voice": make["job"]()}
    with pytest.raises(TimedOut, match="has not come in time: it is Running"):
        Client.local().wait("voice", timeout=0)


def test_in_a_cluster(cluster: ApiDouble, make: Make, file: Path) -> None:
    cluster.jobs(make["complete"]())
    cluster.answers[f"{CORE}/pods/voice-master-0/log"] = [b"step 1\nst", b"ep \xc3", b"\xb6\nend"]
    client = Client.cluster()
    assert client.wait("voice").step == 800
    assert list(client.logs("voice")) == ["step 1", "step ö", "end"]
    assert client.why("voice").state == "Complete"
    taken = make["job"]("Pending")
    cluster.answers[JOBS] = lambda _: taken if cluster.asked[-1][0] == "POST" else {"items": []}
    assert client.submit(file).state == "Pending"
    method, path, _, body, headers = cluster.asked[-1]
    assert (method, path) == ("POST", JOBS)
    assert body["metadata"] == {"name": "voice", "namespace": "speech"}
    assert headers["content-type"] == "application/json"
    cluster.answers[JOBS] = status(409, 'jobs "voice" already exists', name="voice")
    with pytest.raises(UserError, match="already exists"):
        client.submit(file)
    cluster.answers[f"{JOBS}/none"] = status(404, "no", name="none")
    cluster.answers[JOBS] = {"items": []}
    with pytest.raises(NotFound):
        client.get("none")


def test_what_could_not_be_read_once_is_not_told_for_ever(cluster: ApiDouble, make: Make) -> None:
    cluster.jobs(make["nan"]())
    readable = cluster.answers[f"{CORE}/pods"]
    cluster.answers[f"{CORE}/pods"] = status(403, "pods is forbidden")
    client = Client.cluster()
    assert client.why("voice").faults
    cluster.answers[f"{CORE}/pods"] = readable
    assert client.why("voice").faults == []


def test_a_manifest_that_is_refused_is_refused_before_anything_is_sent(
    cluster: ApiDouble, tmp_path: Path
) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(CUSTOM.replace("URI", "relative").replace("PYTHON", "python"), encoding="utf-8")
    with pytest.raises(UserError, match=r"spec\.checkpoint\.uri"):
        Client.cluster().submit(path)
    assert cluster.asked == []


@pytest.fixture
def here(state: Path, tmp_path: Path, file: Path) -> Iterator[Path]:
    """The manifest, with a run directory that this machine may write."""
    file.write_text(
        file.read_text("utf-8").replace("/checkpoints/voice", str(tmp_path / "run")), "utf-8"
    )
    return file


def test_a_real_job_of_this_machine(here: Path) -> None:
    client = Client.local()
    assert client.submit(here).name == "voice"
    done = client.wait("voice", timeout=120)
    assert (done.state, done.step) == ("Complete", 1)
    assert "step 1 loss 2.5" in list(client.logs("voice"))
    with pytest.raises(UserError, match="has ended as Complete"):
        client.submit(here)


def test_importing_it_is_light() -> None:
    heavy = "{'kubernetes', 'pydantic', 'torch', 'kopf', 'numpy'}"
    code = f"import sys, speech_cli.client; print({heavy} & set(sys.modules))"
    printed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "set()"
