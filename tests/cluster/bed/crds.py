"""Kueue's CRDs and webhooks out of its pinned Go module: the module alone is fetched, nothing is built."""

import hashlib
import subprocess
from pathlib import Path

from bed import binaries, toolchain
from bed.binaries import Progress
from bed.families import KUEUE

MODULE = "sigs.k8s.io/kueue"
CRDS = "config/components/crd/bases/*.yaml"
WEBHOOKS = "config/components/webhook/manifests.yaml"


def kueue(cache: Path, tell: Progress) -> list[Path]:
    """One file a CRD. Raises CalledProcessError when the module cannot be had."""
    return sorted(_folder(cache, tell).glob("kueue.*.yaml"))


def kueue_webhooks(cache: Path, tell: Progress) -> Path:
    """Configurations of the webhooks, two documents. Raises CalledProcessError."""
    return _folder(cache, tell) / Path(WEBHOOKS).name


def _folder(cache: Path, tell: Progress) -> Path:
    pins = (toolchain.MODULES / KUEUE.name / "go.mod").read_bytes()
    folder = cache / "bin" / f"{KUEUE.name}-crds-{hashlib.sha256(pins).hexdigest()[:12]}"
    if not folder.exists():
        with binaries.lock(cache, tell):
            if not folder.exists():
                _fetch(folder, cache)
    return folder


def _fetch(folder: Path, cache: Path) -> None:
    go = str(toolchain.install(cache))
    _run(go, cache, "mod", "download", MODULE)
    module = Path(_run(go, cache, "list", "-m", "-f", "{{.Dir}}", MODULE).strip())
    new = folder.with_suffix(".new")
    new.mkdir(parents=True, exist_ok=True)
    for file in [*module.glob(CRDS), module / WEBHOOKS]:
        (new / file.name).write_text(file.read_text())
    new.rename(folder)


def _run(go: str, cache: Path, *arguments: str) -> str:
    done = subprocess.run(
        [go, *arguments],
        cwd=toolchain.MODULES / KUEUE.name,
        env=toolchain.environment(cache),
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout
