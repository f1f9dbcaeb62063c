"""Pack the launcher for foreign images: `python -m speech_telemetry.zipapp DIRECTORY` writes launch.pyz and lib/.

`launch.pyz` holds supervisor, detectors, contract (without the pydantic half) and prometheus_client; `lib/` holds
the reporter alone, for PYTHONPATH, so that nothing of ours shadows a package of the user's image.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import zipapp
from collections.abc import Sequence
from pathlib import Path

import prometheus_client

import speech_contract
import speech_health
import speech_telemetry
from speech_contract.outcome import EXIT_BAD_CONFIG

LAUNCHER = "launch.pyz"
LIBRARY = "lib"
_PYDANTIC_HALF = ("api", "crd*")
_REPORTER_NEEDS = ("__init__.py", "codec.py", "env.py", "errors.py", "phases.py", "wire.py")

# Kept to syntax that any Python 3 (and 2) can read, so that an old one can say what it lacks.
_MAIN = f"""import sys
if sys.version_info < (3, 10):
    sys.stderr.write(
        "speechtrain-launch needs Python 3.10 or newer in the image, found %d.%d; "
        "use a newer image or set recipe.custom.launcher: None\\n" % sys.version_info[:2]
    )
    sys.exit({EXIT_BAD_CONFIG})
from speech_telemetry.launch import main
sys.exit(main())
"""


def build(directory: Path) -> None:
    """Write launch.pyz and lib/ into `directory`; what an earlier call left there is replaced."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        for package in (speech_health, speech_telemetry, prometheus_client):
            _copy(package.__path__[0], root / package.__name__)
        _copy(speech_contract.__path__[0], root / speech_contract.__name__, *_PYDANTIC_HALF)
        (root / "__main__.py").write_text(_MAIN, encoding="utf-8")
        zipapp.create_archive(root, directory / LAUNCHER, compressed=True)
    _build_library(directory / LIBRARY)


def _build_library(library: Path) -> None:
    shutil.rmtree(library, ignore_errors=True)
    contract, telemetry = library / "speech_contract", library / "speech_telemetry"
    contract.mkdir(parents=True)
    telemetry.mkdir()
    for name in _REPORTER_NEEDS:
        shutil.copy(Path(speech_contract.__path__[0], name), contract)
    for name in ("__init__.py", "reporter.py"):
        shutil.copy(Path(speech_telemetry.__path__[0], name), telemetry)


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
