"""The small Python root: a Debian with Python alone, in place of a base image from a registry.

It is the base of our Dockerfiles in tests, and the "foreign image" of jobs that are not ours.
Made once by mmdebstrap from the machine's own Debian mirror, kept in the cache.
"""

import fcntl
import hashlib
import json
import subprocess
from pathlib import Path

from bed import oci, system
from bed.binaries import Progress

PYTHON_IMAGE = "localhost/python:bed"
_SUITE = "bookworm"  # Python 3.11, the oldest that the project supports
_PACKAGES = ("python3", "python3-venv", "ca-certificates")
_LEFT_OUT = ("man", "doc", "locale", "info")
_CONFIG: oci.Config = {
    "Cmd": ["python3"],
    "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"],
}


def python_image(cache: Path, tell: Progress) -> Path:
    """The OCI archive of `PYTHON_IMAGE`; makes it at the first call (about half a minute).

    Raises RuntimeError with mmdebstrap's words when it cannot be made.
    """
    key = hashlib.sha256(json.dumps([_SUITE, _PACKAGES, _LEFT_OUT, _CONFIG]).encode())
    archive = cache / "images" / f"python-{key.hexdigest()[:12]}.tar"
    archive.parent.mkdir(parents=True, exist_ok=True)
    with archive.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            tell("python root: made by mmdebstrap, for the first time")
            _make(archive)
    return archive


def _make(archive: Path) -> None:
    tree, new = archive.with_suffix(".tree.tar"), archive.with_suffix(".new")
    command = [
        system.program("mmdebstrap"),
        "--variant=minbase",
        f"--include={','.join(_PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
        _SUITE,
        str(tree),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
    oci.write(new, PYTHON_IMAGE, [oci.Layer.of(tree)], _CONFIG)
    tree.unlink()
    new.rename(archive)
