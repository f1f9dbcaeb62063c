"""Pack the launcher for foreign images: `python -m speech_telemetry.zipapp DIRECTORY` writes launch.pyz and lib/.

`launch.pyz` holds supervisor, detectors, contract (without the pydantic half) and prometheus_client; `lib/` holds
the reporter and the callbacks alone: the launcher puts it on the ranks' PYTHONPATH, so that nothing of
ours shadows a package of theirs. Where the image has ours installed, as the trainer's own has, `lib/` is a part of
it: what it does not hold is found where it is installed, and reporter and launcher are of one version still.
"""

from __future__ import annotations

import shutil
import string
import sys
import tempfile
import zipapp
from collections.abc import Sequence
from pathlib import Path

import prometheus_client

import speech_contract
import speech_health
import speech_telemetry
from speech_contract import env, paths
from speech_contract.outcome import EXIT_BAD_CONFIG, Outcome, encode
from speech_contract.phases import Phase

LAUNCHER = "launch.pyz"
LIBRARY = "lib"
TOO_OLD = (
    "speechtrain-launch needs Python 3.10 or newer as python3 in the image; use a newer image or set "
    "recipe.custom.launcher: None"
)
_PYDANTIC_HALF = "api"
_LIBRARY_HOLDS = (
    "__init__.py", "files.py", "hearing.py", "huggingface.py", "lightning.py", "outbox.py", "planned.py", "reporter.py",
    "sampled.py", "saves.py", "steering.py",
)  # fmt: skip
_REPORTER_NEEDS = (
    "__init__.py", "codec.py", "env.py", "errors.py", "paths.py", "phases.py", "preflight.py", "report.py", "saves.py",
    "scores.py", "values.py", "wire.py",
)  # fmt: skip

# Of a package in `lib/`, below its docstring; `import` looks for the rest of it along sys.path (PEP 420's way, for
# packages that have an `__init__`).
_PART_OF = """
from pkgutil import extend_path

__path__ = extend_path(__path__, __name__)
"""

# Runs on any Python, the oldest too, so that it can say what it lacks.
_MAIN = string.Template("""\
import os
import sys

if sys.version_info < (3, 10):
    sentence = $sentence
    sys.stderr.write(sentence + "\\n")
    try:
        with open(os.environ.get($variable, $termination_log), "w") as log:
            log.write($outcome)
    except (IOError, OSError):
        pass  # no termination log: the line above and the exit code are left
    sys.exit($code)

library = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), $library)
others = os.environ.get("PYTHONPATH", "")
if library not in others.split(os.pathsep):
    os.environ["PYTHONPATH"] = os.pathsep.join([library, others] if others else [library])

from speech_telemetry.launch import main

sys.exit(main())
""")


def main_source() -> str:
    """The text of the archive's `__main__`: refuse an old Python aloud, show the ranks `lib/`, launch."""
    outcome = Outcome(0, 0, Phase.STARTING.value, EXIT_BAD_CONFIG, TOO_OLD)
    return _MAIN.substitute(
        sentence=repr(TOO_OLD),
        variable=repr(env.TERMINATION_LOG),
        termination_log=repr(paths.TERMINATION_LOG),
        outcome=repr(encode(outcome)),
        code=EXIT_BAD_CONFIG,
        library=repr(LIBRARY),
    )


def build(directory: Path) -> None:
    """Write launch.pyz and lib/ into `directory`; what an earlier call left there is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for package in (speech_health, speech_telemetry, prometheus_client):
            _copy(package.__path__[0], root / package.__name__)
        _copy(speech_contract.__path__[0], root / speech_contract.__name__, _PYDANTIC_HALF)
        (root / "__main__.py").write_text(main_source(), encoding="utf-8")
        zipapp.create_archive(root, directory / LAUNCHER, compressed=True)
    _build_library(directory / LIBRARY)


def _build_library(library: Path) -> None:
    shutil.rmtree(library, ignore_errors=True)
    contract, telemetry = library / "speech_contract", library / "speech_telemetry"
    contract.mkdir(parents=True)
    telemetry.mkdir()
    for name in _REPORTER_NEEDS:
        shutil.copy(Path(speech_contract.__path__[0], name), contract)
    for name in _LIBRARY_HOLDS:
        shutil.copy(Path(speech_telemetry.__path__[0], name), telemetry)
    for package in (contract, telemetry):
        with (package / "__init__.py").open("a", encoding="utf-8") as begins:
            begins.write(_PART_OF)


def _copy(source: str, target: Path, *without: str) -> None:
    ignore = shutil.ignore_patterns("__pycache__", "*.pyc", *without)
    shutil.copytree(source, target, ignore=ignore)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point. Returns the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if len(arguments) != 1:
        sys.stderr.write("usage: python -m speech_telemetry.zipapp DIRECTORY\n")
        return 2
    build(Path(arguments[0]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
