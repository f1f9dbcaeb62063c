"""Drives one local job to its rest with a controller of its own, and turns interrupts into a suspension.

Called by `local_run`. The first SIGINT or SIGTERM saves and frees; the second kills. Either way the state
stays resumable.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import IO, Any, Final, Self

from speech_contract import reasons
from speech_contract.api import parse
from speech_contract.api.spec import CleanPodPolicy
from speech_contract.outcome import EXIT_DONE, EXIT_ERROR, EXIT_INTERRUPTED
from speech_contract.progress import Progress
from speech_contract.reasons import State
from speech_contract.status import show_status
from speech_operator.cluster.base import ClusterError, JobKey
from speech_operator.cluster.local import LocalCluster
from speech_operator.cluster.local_state import JobFolder
from speech_operator.controller import Controller
from speech_operator.local_jobs import LocalRunError

Document = dict[str, Any]
OnUpdate = Callable[[Document, Progress | None], None]
OnNotice = Callable[[str], None]

EXIT_KILLED_BY_USER: Final = 130
CLEANUP_SECONDS: Final = 30.0  # beyond the grace, for the pods of an ended job to go
LOOK_SECONDS: Final = 0.1
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
AT_REST: Final = {state.value for state in reasons.AT_REST}


class Follower:
    """Holds the controller's lock of one job while it is used as a context."""

    def __init__(
        self,
        folder: JobFolder,
        key: JobKey,
        on_update: OnUpdate | None,
        say: OnNotice,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._key = key
        self._on_update = on_update
        self._say = say
        self._cluster = LocalCluster(folder.root, clock, only=key)
        self._lock: IO[str] | None = None
        self._rested = asyncio.Event()
        self._last: Document | None = None
        self._interrupts = 0
        self._told: set[str] = set()

    def __enter__(self) -> Self:
        """Raises LocalRunError when somebody else drives the job."""
        self._lock = self._folder.try_control()
        if self._lock is None:
            name = self._key.name
            remedy = f"watch it with `speechtrain status {name}` or stop it with `speechtrain suspend {name}`"
            raise LocalRunError(f"{name} is driven by another speechtrain; {remedy}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._lock is not None:
            self._lock.close()

    def show(self, document: Document, progress: Progress | None = None) -> None:
        """Hand a state of the job to whoever watches."""
        if self._on_update is not None:
            self._on_update(document, progress)

    async def follow(self) -> int:
        """Run the controller until the job rests; the exit code of the command."""
        controller = Controller(self._cluster, time.time, self._passed, self._failed)
        running = asyncio.create_task(self._drive(controller), name=f"controller {self._key}")
        resting = asyncio.create_task(self._rest(), name=f"rest of {self._key}")
        try:
            with self._signals():
                await asyncio.wait({running, resting}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()  # it ends only by an error
            return self._exit_code(resting.result())
        finally:
            for task in (running, resting):
                task.cancel()
            await asyncio.gather(running, resting, return_exceptions=True)

    async def _drive(self, controller: Controller) -> None:
        working = asyncio.create_task(controller.run(), name=f"workers {self._key}")
        try:
            await self._cluster.watch(controller.mark)
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)

    async def _rest(self) -> Document:
        """The job at rest, with its pods gone as the policy says."""
        while True:
            await self._rested.wait()
            assert self._last is not None
            document = self._last
            if not document.get("spec"):
                return document
            policy = parse(document, local=True).spec.run_policy
            if policy.clean_pod_policy is CleanPodPolicy.NONE:
                return document
            await self._pods_gone(policy.termination_grace_period_seconds + CLEANUP_SECONDS)
            return document

    async def _pods_gone(self, limit_seconds: float) -> None:
        """Wait for the processes to end; the controller goes on meanwhile and has them deleted."""
        for _ in range(int(limit_seconds / LOOK_SECONDS)):
            if all(pod.ended for pod in self._cluster.pods(self._key)):
                return
            await asyncio.sleep(LOOK_SECONDS)

    def _passed(self, key: JobKey, document: Mapping[str, Any], progress: Progress | None) -> None:
        self._last = dict(document)
        self.show(self._last, progress)
        if state_of(document) in AT_REST:
            self._rested.set()

    def _failed(self, key: JobKey, error: Exception) -> None:
        text = str(error) or repr(error)
        if text not in self._told:
            self._told.add(text)
            expected = isinstance(error, ClusterError)
            self._say(text if expected else f"a pass of the controller failed: {error!r}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            for number in SIGNALS:
                try:
                    loop.add_signal_handler(number, self.interrupt)
                except (RuntimeError, ValueError):
                    continue  # not in the main thread: whoever runs us there handles signals
                stack.callback(loop.remove_signal_handler, number)
            yield

    def interrupt(self) -> None:
        """The first time: suspend. The second: kill."""
        self._interrupts += 1
        if self._interrupts == 1:
            self._say(f"stopping {self._key.name}: it saves first; interrupt again to kill it")
        else:
            self._say(f"killing {self._key.name}; it resumes from its last checkpoint")
            self._cluster.kill_pods(self._key)
        self._folder.set_suspend(True)

    def _exit_code(self, document: Document) -> int:
        if self._interrupts > 1:
            return EXIT_KILLED_BY_USER
        return exit_code(document)


def state_of(document: Mapping[str, Any]) -> str:
    """`status.state`; Pending before the first pass."""
    return show_status(document.get("status")).state.value


def exit_code(document: Mapping[str, Any]) -> int:
    """The code that the command line exits with, for a job at rest."""
    status = show_status(document.get("status"))
    if status.state is State.SUSPENDED:
        return EXIT_INTERRUPTED
    if status.state is State.COMPLETE:
        return EXIT_DONE
    return (status.failure.exit_code if status.failure else None) or EXIT_ERROR
