"""Nothing outlives its supervisor: what a launcher of theirs (torchrun, a shell) started is found and ended.

PR_SET_PDEATHSIG reaches our own children alone; theirs go on training when the supervisor is killed with a signal
that nobody can catch. Each of them carries the path of the supervisor's socket in its environment, which is how they
are known again after their parents are gone. A process that empties its environment is not found.

Used in two ways: `ranks` calls `end`, and starts this file's text as a process of its own, the guard, which waits for
the supervisor's end of a pipe to close. So it imports nothing of ours, and little else.
"""

import os
import signal
import sys
import time

STAND_DOWN = b"."  # written to the guard at a clean end
_SCANS = 50  # a launcher may still be starting workers while we look
_PAUSE = 0.1  # seconds between two scans


def marked(mark: bytes) -> list[int]:
    """Processes of this user whose environment holds `mark` (`NAME=value`); none where there is no /proc."""
    found: list[int] = []
    own = os.getpid()
    try:
        names = os.listdir("/proc")
    except OSError:
        return found
    for name in names:
        if not name.isdigit() or int(name) == own:
            continue
        try:
            with open(f"/proc/{name}/environ", "rb") as stream:
                held = stream.read()
        except OSError:
            continue  # another user's, or it ended meanwhile
        if mark in held.split(b"\0"):
            found.append(int(name))
    return found


def end(mark: bytes) -> int:
    """SIGKILL all of them, until none is left. How many there were."""
    ended: set[int] = set()
    for _ in range(_SCANS):
        left = marked(mark)
        if not left:
            break
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                continue
            ended.add(pid)
        time.sleep(_PAUSE)
    return len(ended)


def guard(mark: bytes, ear: int) -> None:
    """Wait until the supervisor stands us down or is gone; then end what it left."""
    if os.fork():
        os._exit(0)  # the supervisor has no child more than its ranks
    os.setsid()
    os.chdir("/")
    if os.read(ear, 1) != STAND_DOWN:
        end(mark)


if __name__ == "__main__":
    guard(os.fsencode(sys.argv[1]), sys.stdin.fileno())
