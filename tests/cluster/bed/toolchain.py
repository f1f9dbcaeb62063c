"""Go, installed from its Python package into the cache: nothing of the machine's own is used.

The version and the hashes are in `tests/cluster/go/toolchain.txt`.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

MODULES = Path(__file__).resolve().parent.parent / "go"
REQUIREMENTS = MODULES / "toolchain.txt"
# the pins rule; the sources are in no repository; `rm` shall be able to remove the cache
_FLAGS = ("-mod=readonly", "-buildvcs=false", "-modcacherw")
_REPOSITORY = MODULES.parent.parent.parent


def environment(cache: Path) -> dict[str, str]:
    """The environment for `go`: modules and objects in our cache, no other toolchain fetched."""
    base = dict(os.environ)
    base.setdefault("GOMODCACHE", str(cache / "go" / "modules"))
    base.setdefault("GOCACHE", str(cache / "go" / "objects"))
    return base | {
        "GOFLAGS": " ".join([base.get("GOFLAGS", ""), *_FLAGS]).strip(),
        "GOTOOLCHAIN": "local",
        "GOWORK": "off",
        "CGO_ENABLED": "0",
    }


def install(cache: Path) -> Path:
    """The path of `go`; installs it at the first call. The caller holds the build lock.

    Raises RuntimeError with the installer's words when the package cannot be had.
    """
    digest = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]
    folder = cache / "go" / f"toolchain-{digest}"
    if not folder.exists():
        new = folder.with_suffix(".new")
        shutil.rmtree(new, ignore_errors=True)
        command = [*_installer(), "--require-hashes", "-r", str(REQUIREMENTS), "--target", str(new)]
        done = subprocess.run(command, env=_index(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Go could not be installed: {' '.join(command)}\n{done.stderr}")
        new.rename(folder)
    return folder / "go" / "bin" / "go"


def _installer() -> list[str]:
    """`uv` where there is one (the bootstrap of `make` has it), else this interpreter's pip."""
    for uv in (shutil.which("uv"), str(_REPOSITORY / ".cache" / "bootstrap" / "bin" / "uv")):
        if uv and Path(uv).exists():
            return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if importlib.util.find_spec("pip") is None:
        raise RuntimeError("neither uv nor pip is there to install Go: run `make install` first")
    return [sys.executable, "-m", "pip", "install", "--quiet"]


def _index() -> dict[str, str]:
    # uv reads its own variables only; a mirror that was set for pip serves it as well
    mirror = os.environ.get("PIP_INDEX_URL")
    return {"UV_DEFAULT_INDEX": mirror, **os.environ} if mirror else dict(os.environ)
