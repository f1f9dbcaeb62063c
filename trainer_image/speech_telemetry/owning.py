"""The master supervisor's hand on the run directory: claims it, says what it sees, gives it back. Called by `master`.

`ownership` knows the files and the rules; here they meet the pod, its log and the exit code.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from speech_contract import env
from speech_contract.events import Event
from speech_contract.outcome import EXIT_BAD_CONFIG, EXIT_SUPERSEDED
from speech_contract.owner import CLUSTER, LAPTOP, Owner, in_use
from speech_telemetry.logs import WARNING, EventLog
from speech_telemetry.outcome import End
from speech_telemetry.ownership import STALE_SECONDS, OccupiedError, Ownership
from speech_telemetry.pod import Pod


class Owning:
    """`refusal` is a sentence for people; empty while all is well."""

    def __init__(self, pod: Pod, environ: Mapping[str, str], log: EventLog) -> None:
        config = pod.config
        self._log, self._uri = log, config.checkpoint.uri
        # A run by hand has no name to own with.
        self._described = pod.described and bool(config.uid)
        place = CLUSTER if environ.get(env.KUBERNETES_HOST) else LAPTOP
        me = Owner(config.uid, config.namespace, config.name, config.attempt, place)
        custom = config.recipe.custom is not None
        self._ownership = Ownership(pod.run_dir, me, time.monotonic, custom=custom)
        self._awaited = self._stopping = False
        self.refusal = ""

    def settled(self) -> bool:
        """One look: whether it is known if the directory is ours. Where nothing can be written, nobody owns."""
        if not self._described:
            return True
        try:
            if not self._ownership.claim():
                self._say_awaited()
                return False
        except OccupiedError as error:
            self.refusal = in_use(self._uri, error.owner)
            return True
        except (
            OSError
        ) as error:  # the trainer refuses such a directory; a custom script may not need it
            self._unwritable(str(error))
            return True
        if self._ownership.before is not None:
            before = self._ownership.before
            self._log.emit(Event.OWNER_FOLLOWED, owner=str(before), owner_uid=before.uid)
        self._ownership.start(self._unwritable)
        return True

    @property
    def lost(self) -> End | None:
        """Another job owns the directory now, which saw no sign of life of us for long, or a newer attempt of ours."""
        owner = self._ownership.lost
        if owner is None:
            return None
        if not self._ownership.superseded:
            return End(EXIT_BAD_CONFIG, in_use(self._uri, owner))
        text = f"attempt {owner.attempt} of this job has taken over {self._uri}; this one is stale and writes no more"
        return End(EXIT_SUPERSEDED, text)

    def ours(self) -> bool:
        """A look right before something is published. A file server that is away proves nothing."""
        try:
            return self._ownership.look()
        except OSError:
            return True

    def stopping(self) -> None:
        """The ranks save and end."""
        if not self._stopping:
            self._stopping = True
            self._try(self._ownership.stopping)

    def release(self) -> None:
        """The ranks are gone."""
        self._try(self._ownership.release)

    def _try(self, act: Callable[[], None]) -> None:
        try:
            act()
        except OSError as error:  # a full disk: whoever waits takes us for dead a little later
            self._unwritable(str(error))

    def _say_awaited(self) -> None:
        if self._awaited:
            return
        self._awaited = True
        owner = self._ownership.watched
        self._log.emit(
            Event.OWNER_AWAITED, WARNING, owner=str(owner or ""), at_most_seconds=STALE_SECONDS
        )

    def _unwritable(self, error: str) -> None:
        self._log.emit(Event.OWNER_UNWRITABLE, WARNING, error=error, path=self._uri)
