"""The command line's verbs for Python programs, over this machine or a cluster. Called by users' own code.

    from speech_cli.client import Client

    client = Client.cluster(namespace="speech")       # or Client.local()
    job = client.submit("voice.yaml")
    job = client.wait(job.name, "condition=Complete", timeout=3600)
    print(job.state, job.step, job.loss, client.why(job.name).next_step)

Answers are the frozen dataclasses that the commands print: `JobView` and `Explanation`. Every error is a `UserError`
whose `message` names field, value and remedy: `WrongArgument`, a ValueError too, of a call that cannot be meant,
`NoSuchJob` and `NotFound` of a job that is not there, `ClusterProblem` and `Forbidden` of an API server that refuses.
Calls block.
"""

from __future__ import annotations

import codecs
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Final

from speech_cli import local, manifest, place, waiting
from speech_cli.cluster_client import Access, Forbidden, NotFound
from speech_cli.cluster_place import ClusterPlace
from speech_cli.errors import ClusterProblem, NoSuchJob, UserError
from speech_cli.local_place import LocalPlace
from speech_cli.log_request import LogRequest
from speech_cli.rendering.view import Document, JobView, mapping, view_of
from speech_cli.rendering.why import Explanation
from speech_cli.waiting import Goal, Prospect, Standing
from speech_contract.reasons import State

__all__ = [
    "CannotCome",
    "Client",
    "ClusterProblem",
    "Explanation",
    "Forbidden",
    "JobView",
    "NoSuchJob",
    "NotFound",
    "TimedOut",
    "UserError",
    "WrongArgument",
]

LOOK_SECONDS: Final = 0.2


class WrongArgument(UserError, ValueError):
    """An argument of a call that is none; the message begins with its name."""


class CannotCome(UserError):
    """What `wait` waits for cannot come any more; `job` is how it ended."""

    exit_code = waiting.EXIT_LOST

    def __init__(self, message: str, job: JobView) -> None:
        super().__init__(message)
        self.job = job


class TimedOut(CannotCome):
    """What `wait` waits for has not come yet; `job` is how it stands."""

    exit_code = waiting.EXIT_TIMEOUT


class Client:
    """The jobs of one namespace. Make one with `local` or `cluster`."""

    def __init__(self, where: LocalPlace | ClusterPlace) -> None:
        self._place = where

    @classmethod
    def local(cls, namespace: str | None = None) -> Client:
        """Jobs of this machine: of `.speechtrain` below the working directory, or of SPEECHTRAIN_STATE."""
        return cls(LocalPlace(namespace))

    @classmethod
    def cluster(
        cls, namespace: str | None = None, context: str = "", kubeconfig: str = ""
    ) -> Client:
        """Jobs of a cluster, logged in as kubectl would be; empty means its defaults. Raises ClusterProblem."""
        return cls(ClusterPlace.connect(Access(context, kubeconfig), namespace))

    def submit(self, file: str | Path) -> JobView:
        """Start the job of a manifest; returns once it is known, not once it has ended.

        Here it runs in a process of its own that outlives this one, as `speechtrain run FILE` does; a job that was
        suspended or interrupted goes on. Raises UserError for a manifest that is refused, a job that has ended, and
        in a cluster for one that is there.
        """
        path = Path(file)
        if isinstance(self._place, LocalPlace):
            document = manifest.load(path)
            return _start(self._place, path, str(mapping(document, "metadata").get("name")))
        return view_of(self._place.submit(manifest.load(path, local=False)))

    def get(self, name: str) -> JobView:
        """The job as it stands. Raises NoSuchJob or NotFound naming the nearest one, WrongArgument."""
        return view_of(self._find(name))

    def document(self, name: str) -> Document:
        """The same as the API has it: metadata, spec, status."""
        return self._find(name)

    def jobs(self) -> list[JobView]:
        """Every job of the namespace."""
        return [view_of(document) for document in self._place.jobs()]

    def wait(
        self, name: str, goal: str = "condition=Complete", timeout: float | None = None
    ) -> JobView:
        """Return once the goal has come: `condition=NAME` or `step=NUMBER`. `timeout` in seconds; None: no limit.

        Raises CannotCome as soon as it cannot come any more, as Complete of a job that failed, TimedOut, WrongArgument.
        """
        if timeout is not None and not _is_number(timeout):
            raise _wrong(
                "timeout", timeout, "give seconds as a number from 0, or None for no limit"
            )
        wanted = _goal(goal)
        standing = waiting.until(self._place, self._find(name), wanted, timeout)
        if standing.prospect is Prospect.CAME:
            return view_of(standing.document)
        raise _unmet(name, goal, standing)

    def logs(
        self,
        name: str,
        rank: int = 0,
        attempt: int | None = None,
        tail: int = 50,
        *,
        follow: bool = False,
    ) -> Iterator[str]:
        """The last `tail` lines of a rank, without their line ends. `follow`: go on until it ends.

        `attempt`: from 1; None: the newest. Raises WrongArgument, UserError where there is no such log.
        """
        _check_whole("rank", rank, 0)
        _check_whole("tail", tail, 0)
        if attempt is not None:
            _check_whole("attempt", attempt, 1)
        wanted = LogRequest(rank=rank, attempt=attempt, tail=tail, follow=follow)
        return _lines(self._place.log(self._find(name), wanted))

    def why(self, name: str) -> Explanation:
        """What happened to the job, as `speechtrain why` tells it."""
        return place.explained(self._place, self._find(name))

    def _find(self, name: object) -> Document:
        if not isinstance(name, str) or not name:
            raise _wrong("name", name, "give the name of a job, as in get('voice')")
        return self._place.find(name)


def _wrong(argument: str, value: object, remedy: str) -> WrongArgument:
    return WrongArgument(f"{argument}: {value!r} is not understood; {remedy}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _check_whole(argument: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong(argument, value, f"give a whole number from {least}")


def _goal(text: object) -> Goal:
    if not isinstance(text, str):
        raise _wrong("goal", text, f"give a text: {waiting.FORMS}")
    try:
        return waiting.goal(text)
    except UserError as error:
        raise WrongArgument(f"goal: {error.message}") from error


def _unmet(name: str, goal: str, standing: Standing) -> CannotCome:
    view = view_of(standing.document)
    if standing.prospect is Prospect.LOST:
        return CannotCome(f"{name}: {goal} cannot come any more: {standing.why}", view)
    return TimedOut(f"{name}: {goal} has not come in time: {standing.why}", view)


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    decode, rest = codecs.getincrementaldecoder("utf-8")("replace").decode, ""
    for chunk in chunks:
        *whole, rest = (rest + decode(chunk)).split("\n")
        yield from whole
    if rest:
        yield rest


def _start(
    here: LocalPlace, path: Path, name: str, sleep: Callable[[float], None] = time.sleep
) -> JobView:
    """Run the manifest in a process of its own. Raises UserError with its words when it ends before there is a job."""
    _refuse_ended(here, name)
    with tempfile.TemporaryFile() as said:
        options = ["--plain", "-n", here.namespace]
        command = [sys.executable, "-m", "speech_cli", "run", str(path), *options]
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True
        )
        threading.Thread(target=child.wait, daemon=True).start()  # or it stays a zombie
        while True:
            ended = child.poll() is not None  # asked first: what it did last is seen below
            view = _known(here, name)
            if view is not None and (view.finished or not ended):
                return view
            if ended:
                raise UserError(_words(said) or f"{path}: the run ended with {child.returncode}")
            sleep(LOOK_SECONDS)


def _refuse_ended(here: LocalPlace, name: str) -> None:
    view = _known(here, name)
    if view is not None and view.finished:
        raise UserError(
            f"job: {name!r} has ended as {view.state}; submit it under another name, "
            "or start over with `speechtrain run FILE --new`"
        )


def _known(here: LocalPlace, name: str) -> JobView | None:
    """The job, unless there is none or nobody drives it (yet)."""
    document = local.load(here.namespace, name)
    view = None if document is None else view_of(document)
    return None if view is None or view.state == State.UNKNOWN.value else view


def _words(said: IO[bytes]) -> str:
    """The last of what the process printed, without click's own word before it."""
    said.seek(0)
    text = said.read().decode(errors="replace").strip()
    return text.rpartition("Error: ")[2]
