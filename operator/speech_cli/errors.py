"""Errors that the person at the keyboard can mend, and the exit code of each.

    UserError(click.ClickException)   64  a manifest, an option, a job's name; message = field, value, rule, remedy
    ├── NoSuchJob                     64  a job that is not there
    ├── MissingExtra                  64  a command needs packages of another extra
    ├── BadData                       65  a data manifest, or the files it names
    ├── ClusterProblem                 1  no way to a cluster, or its API server refuses
    └── Stale                          1  a generated file is not what its source says

click prints them as `Error: …` on standard error; nothing in this package catches them.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from speech_cli.visible import visible
from speech_contract import exit_codes
from speech_contract.errors import nearest


class UserError(click.ClickException):
    """A message with its remedy."""

    exit_code = exit_codes.EXIT_BAD_CONFIG

    def format_message(self) -> str:
        """As click prints it; a server or a file may have had a part in the words."""
        return visible(super().format_message())


class NoSuchJob(UserError):
    """No job of this name on this machine."""


class MissingExtra(UserError):
    """`speechtrain data` without torch and friends, `run` without the controller's packages."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"this command needs the Python package {package}, which is not installed; "
            f"install speechtrain[{extra}]"
        )


class BadData(UserError):
    """Data that cannot be used as it is."""

    exit_code = exit_codes.EXIT_BAD_DATA


class Stale(UserError):
    """A generated file that no longer matches what it is generated from."""

    exit_code = exit_codes.EXIT_ERROR


class ClusterProblem(UserError):
    """A cluster that cannot be reached, does not let us in, or has no SpeechTrainingJobs."""

    exit_code = exit_codes.EXIT_ERROR


def absent(name: str, known: Sequence[str], elsewhere: Sequence[str]) -> str:
    """What to do about a job that is not in a namespace: the others there, and namespaces that have one of its name."""
    if elsewhere:
        return f"there is one in namespace {elsewhere[0]}: add -n {elsewhere[0]}"
    guess = nearest(name, known)
    return f"did you mean {guess}?" if guess else f"jobs there: {', '.join(known) or 'none'}"
