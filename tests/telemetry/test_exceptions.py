# ruff: noqa: E501 - lines as they are printed
"""Which of the errors that a rank printed explains its end."""

from __future__ import annotations

import pytest

from speech_contract.causes import known
from speech_contract.outcome import fingerprint, stand_in
from speech_telemetry.exceptions import ErrorFinder

TRACEBACK = "Traceback (most recent call last):\n  File 'train.py', line 9, in <module>\n    f()\n"
BANNER = (
    f"{TRACEBACK}torch.distributed.elastic.multiprocessing.errors.ChildFailedError: \n"
    "============================================================\ntrain.py FAILED\n"
    "Root Cause (first observed failure):\n  exitcode  : 1 (pid: 7)\n  error_file: <N/A>\n"
)


def error(text: str) -> ErrorFinder:
    finder = ErrorFinder()
    for line in text.split("\n"):
        if line.strip():
            finder.take(line)
    return finder


def ranked(rank: int, text: str, prefix: str = "[rank{}]: ") -> str:
    return "\n".join(prefix.format(rank) + line for line in text.rstrip("\n").split("\n"))


@pytest.mark.parametrize("prefix", ["", "[rank{}]: ", "[default{}]:", "{}: ", "[rank{}]:"])
def test_a_launchers_prefix_hides_no_exception(prefix: str) -> None:
    text = ranked(
        0, f"{TRACEBACK}RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB", prefix
    )
    assert error(text).error == "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB"


@pytest.mark.parametrize(
    "banner",
    [
        BANNER,
        f"{TRACEBACK}subprocess.CalledProcessError: Command '['python']' returned non-zero exit status 1.",
        f"{TRACEBACK}torch.multiprocessing.spawn.ProcessExitedException: process 0 terminated with exit code 1",
    ],
)
def test_a_launchers_word_is_no_cause(banner: str) -> None:
    assert error(f"{ranked(1, TRACEBACK + 'KeyError: 3')}\n{banner}").error == "KeyError: 3"
    assert error(banner).is_stand_in


def test_of_a_chain_both_ends_are_told() -> None:
    link = "\nThe above exception was the direct cause of the following exception:\n\n"
    text = f"{TRACEBACK}OSError: [Errno 28] No space left on device\n{link}{TRACEBACK}RuntimeError: save failed"
    assert (
        error(text).error
        == "RuntimeError: save failed; caused by OSError: [Errno 28] No space left on device"
    )
    link = "\nDuring handling of the above exception, another exception occurred:\n\n"
    text = f"{TRACEBACK}RuntimeError: worker is killed by signal: Bus error.\n{link}{TRACEBACK}BrokenPipeError: [Errno 32] Broken pipe"
    assert error(text).error.startswith(
        "RuntimeError: worker is killed by signal: Bus error.; then "
    )


def test_what_the_peers_say_is_a_consequence() -> None:
    first = ranked(2, f"{TRACEBACK}ValueError: bad clip")
    later = ranked(0, f"{TRACEBACK}RuntimeError: [gloo] Connection closed by peer [127.0.0.1]:7")
    assert error(f"{first}\n{later}").error == "ValueError: bad clip"
    assert "closed by peer" in error(later).error


def test_the_original_of_a_data_worker_is_the_cause() -> None:
    text = f"{TRACEBACK}RuntimeError: Caught RuntimeError in DataLoader worker process 0.\nOriginal {TRACEBACK}KeyError: 'text'"
    assert error(text).error == "KeyError: 'text'"


@pytest.mark.parametrize(
    ("message", "name"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", "CUDA out of memory"),
        ("RuntimeError: CUDA error: out of memory", "CUDA out of memory"),
        ("torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:1, unhandled system error", "NCCL"),
        ("OSError: [Errno 28] No space left on device: 'run/model.pt'", "no space left"),
        ("ModuleNotFoundError: No module named 'soundfile'", "module missing"),
        ("RuntimeError: DataLoader worker (pid 7) is killed by signal: Bus error.", "shared memory too small"),
        ("OSError: [Errno 5] Input/output error: 'wavs/0001.wav'", "input/output error"),
        ("KeyError: 3", None),
    ],
)  # fmt: skip
def test_common_causes_are_named(message: str, name: str | None) -> None:
    found = known(message)
    assert (found.name if found else None) == name


def test_a_stand_in_is_nobodys_same_cause() -> None:
    assert fingerprint(1, "", stand_in(0, 1)) == ""
    assert fingerprint(1, "", "KeyError: 3") == fingerprint(1, "", "KeyError: 4") != ""
    assert fingerprint(139, "", stand_in(0, 139)) != ""
