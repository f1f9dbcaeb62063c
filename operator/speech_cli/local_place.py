"""Jobs on this machine, as commands see them: a `Place` over `local` and `run_directory`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

from speech_cli import local
from speech_cli.errors import UserError
from speech_cli.log_request import LogRequest
from speech_cli.rendering import verdict, why
from speech_cli.rendering.cause import Cause, cause_of
from speech_cli.rendering.evaluations import course_lines, evaluations
from speech_cli.rendering.view import Document, JobView, mapping, uid_of, view_of, whole
from speech_cli.run_directory import RunDirectory, by_reason, told
from speech_contract.events import Event
from speech_contract.outcome import Outcome
from speech_contract.reasons import State

TAIL_LINES: Final = 5
CHUNK: Final = 65536
LOOK_SECONDS: Final = 0.3
GOES_ON: Final = (State.STARTING.value, State.RUNNING.value, State.SUSPENDING.value)


class LocalPlace:
    """One namespace of the local state."""

    def __init__(self, namespace: str | None, sleep: Callable[[float], None] = time.sleep) -> None:
        self.namespace = namespace or local.DEFAULT_NAMESPACE
        self._sleep = sleep

    @property
    def title(self) -> str:
        """For sentences."""
        return f"below {local.state_root()}"

    @property
    def flags(self) -> str:
        """Options that lead here again."""
        return local.flags(self.namespace)

    def jobs(self, *, everywhere: bool = False) -> Sequence[Document]:
        """Every job of the namespace, or of all namespaces."""
        namespace = None if everywhere else self.namespace
        return local.jobs(namespace)

    def find(self, name: str) -> Document:
        """One job. Raises NoSuchJob naming the nearest one."""
        return local.find(self.namespace, name)

    def outcomes(self, document: Document) -> list[Outcome]:
        """What the pods left in their termination files."""
        return local.outcomes(self.namespace, str(mapping(document, "metadata").get("name")))

    def evidence(self, document: Document, cause: Cause) -> why.Evidence:
        """What the run directory holds about the newest attempt."""
        folder = self._folder(document)
        rank = cause.rank or 0
        attempt = view_of(document).attempt or 1
        bad = folder.bad_samples()
        log = folder.rank_log(attempt, rank)
        result = folder.result()
        rows = evaluations(folder.events(Event.EVALUATION_FINISHED)) if result else []
        return why.Evidence(
            quarantine=str(folder.quarantine) if bad else "",
            bad_samples=by_reason(bad),
            first_bad_sample=told(bad[0]) if bad else "",
            log=str(log) if log.exists() else "",
            log_tail=tuple(folder.tail(attempt, rank, TAIL_LINES)),
            scores=tuple(verdict.score_lines(result)) if result else (),
            course=tuple(course_lines(rows, result)) if result else (),
            evaluations=tuple(rows),
            faults=tuple(folder.faults),
            flags=self.flags,
        )

    def closing(self, document: Document, view: JobView) -> Iterator[str]:
        """Scores and places of a finished run, cause and remedy of a failed one."""
        folder = self._folder(document)
        lines: Iterator[str] = iter(())
        if view.state == State.COMPLETE.value:
            lines = verdict.complete_lines(view, folder.result(), folder.places())
        elif view.state == State.FAILED.value:
            cause = cause_of(document, self.outcomes(document))
            lines = verdict.failed_lines(view, cause, cause.exit_code, {}, self.flags)
        next(lines, None)  # the headline stands above already
        yield from lines

    def log(self, document: Document, wanted: LogRequest) -> Iterator[bytes]:
        """The log of a rank, from the run directory. Raises UserError when it is not there."""
        view = view_of(document)
        per_node = whole(mapping(document, "spec").get("nprocPerNode")) or 1
        folder, rank = self._folder(document), wanted.first_rank(per_node)
        number = wanted.attempt or view.attempt or 1
        path = folder.rank_log(number, rank)
        if not path.exists():
            raise UserError(f"{path}: is not there; check attempt and rank")
        if wanted.follow:
            return self._follow(path, wanted.tail, view.name, number)
        return (f"{line}\n".encode() for line in folder.tail(number, rank, wanted.tail))

    def suspend(self, document: Document) -> list[str]:
        """Returns once the job saved and freed the machine."""
        name = str(mapping(document, "metadata").get("name"))
        local.suspend(self.namespace, name)
        return [f"{name}: suspended", f"continue with: speechtrain resume {name}{self.flags}"]

    def _folder(self, document: Document) -> RunDirectory:
        return RunDirectory(local.run_dir(document, self.namespace), uid_of(document))

    def _follow(self, path: Path, tail: int, name: str, attempt: int) -> Iterator[bytes]:
        """The last lines and what comes after, until this attempt has ended."""
        with path.open("rb") as file:
            yield b"".join(_last_lines(file.read(), tail))
            while True:
                ended = not self._goes_on(name, attempt)  # asked first: its last words come after
                while chunk := file.read(CHUNK):
                    yield chunk
                if ended:
                    return
                self._sleep(LOOK_SECONDS)

    def _goes_on(self, name: str, attempt: int) -> bool:
        view = view_of(local.find(self.namespace, name))
        return view.state in GOES_ON and view.attempt == attempt


def _last_lines(data: bytes, count: int) -> list[bytes]:
    return data.splitlines(keepends=True)[-count:] if count > 0 else []
