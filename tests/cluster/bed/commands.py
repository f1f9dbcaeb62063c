"""Running a program and hearing what it said when it failed."""

import subprocess
from collections.abc import Mapping, Sequence


class CommandFailed(Exception):
    """A program ended with another code than 0; `words` is what it said."""

    def __init__(self, command: Sequence[str], code: int, words: str) -> None:
        super().__init__(f"{' '.join(command)}: exit {code}\n{words}")
        self.code = code
        self.words = words


def run(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    seconds: float = 300.0,
    environment: Mapping[str, str] | None = None,
) -> str:
    """The standard output of a program. Raises CommandFailed; TimeoutExpired after `seconds`."""
    done = subprocess.run(
        command,
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        timeout=seconds,
        env=environment,
        check=False,
    )
    if done.returncode:
        raise CommandFailed(command, done.returncode, (done.stderr or done.stdout)[-6000:])
    return done.stdout
