"""Packs the launcher for images that are not ours: `python -m speech_telemetry.zipapp DIRECTORY`.

Called by operator/Dockerfile; speech_operator.copy_launcher brings the result into a job's pod. `launch.pyz` is the
supervisor with all that it needs. `lib/` holds the reporter and the names it uses, standard library alone: it is what
training scripts get to see, so that nothing of ours can clash with their packages.
"""

from __future__ import annotations

import shutil
import string
import sys
import zipfile
from collections.abc import Iterable, Iterator
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
OLDEST = (3, 10)
SENTENCE = (
    "the launcher needs Python 3.10 or newer as python3 in the image; use a newer base image, or set "
    "recipe.custom.launcher to None and be watched by the operator alone"
)
# Runs on any Python, the oldest too: that is the point of it.
_MAIN = string.Template("""\
import os
import sys

if sys.version_info < $oldest:
    sys.stderr.write($sentence + "\\n")
    try:
        with open(os.environ.get($variable, $termination_log), "w") as log:
            log.write($outcome)
    except (IOError, OSError):
        pass  # no termination log: the exit code and the line above are left
    sys.exit($code)

library = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), $library)
if os.path.isdir(library):
    others = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([library, others] if others else [library])

from speech_telemetry.launch import main

sys.exit(main())
""")
_NO_API = ("api", "crd.py")  # they need pydantic and PyYAML, and no process in the pod uses them
_MOMENT = (1980, 1, 1, 0, 0, 0)  # the oldest a zip knows: the same sources make the same file


def build(directory: Path) -> None:
    """Write `launch.pyz` and `lib/` into the directory, replacing older ones. Raises OSError."""
    directory.mkdir(parents=True, exist_ok=True)
    _pack(directory / LAUNCHER)
    library = directory / LIBRARY
    shutil.rmtree(library, ignore_errors=True)
    for name, path in _library_members():
        target = library / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)


def main_source() -> str:
    """The text of the archive's `__main__.py`."""
    outcome = Outcome(0, 0, Phase.STARTING.value, EXIT_BAD_CONFIG, SENTENCE)
    return _MAIN.substitute(
        oldest=OLDEST,
        sentence=repr(SENTENCE),
        variable=repr(env.TERMINATION_LOG),
        termination_log=repr(paths.TERMINATION_LOG),
        outcome=repr(encode(outcome)),
        code=EXIT_BAD_CONFIG,
        library=repr(LIBRARY),
    )


def _pack(path: Path) -> None:
    new = path.with_suffix(".new")
    with zipfile.ZipFile(new, "w") as archive:  # stored: a small Python may come without zlib
        archive.writestr(zipfile.ZipInfo("__main__.py", _MOMENT), main_source())
        for name, member in _launcher_members():
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), member.read_bytes())
    new.chmod(0o644)
    new.replace(path)


def _launcher_members() -> Iterator[tuple[str, Path]]:
    yield from _modules(speech_contract.__file__, without=_NO_API)
    yield from _modules(speech_health.__file__)
    yield from _modules(speech_telemetry.__file__, without=(Path(__file__).name,))
    yield from _modules(prometheus_client.__file__)


def _library_members() -> Iterator[tuple[str, Path]]:
    yield from _modules(speech_contract.__file__, without=_NO_API)
    kept = ("__init__.py", "reporter.py")
    for name, path in _modules(speech_telemetry.__file__):
        if name.partition("/")[2] in kept:
            yield name, path


def _modules(init: str | None, without: Iterable[str] = ()) -> Iterator[tuple[str, Path]]:
    """Name in the archive and path of each module of a package."""
    assert init is not None
    package = Path(init).parent
    for path in sorted(package.rglob("*.py")):
        inner = path.relative_to(package)
        if inner.parts[0] not in without:
            yield f"{package.name}/{inner.as_posix()}", path


if __name__ == "__main__":
    build(Path(sys.argv[1]))
