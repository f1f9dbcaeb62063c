"""CRDs and webhooks of others, out of their pinned Go modules: the module alone is fetched, nothing is built."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bed import binaries, toolchain
from bed.binaries import Progress
from bed.families import KUEUE, TRAINING_OPERATOR, Family


@dataclass(frozen=True)
class Files:
    """What is wanted of a module: patterns of paths, whose file names differ."""

    family: Family
    module: str
    patterns: tuple[str, ...]


_KUEUE = Files(
    KUEUE,
    "sigs.k8s.io/kueue",
    ("config/components/crd/bases/*.yaml", "config/components/webhook/manifests.yaml"),
)
_PYTORCH = Files(
    TRAINING_OPERATOR,
    "github.com/kubeflow/training-operator",
    ("manifests/base/crds/kubeflow.org_pytorchjobs.yaml",),
)


def kueue(cache: Path, tell: Progress) -> list[Path]:
    """One file a CRD. Raises CalledProcessError when the module cannot be had."""
    return sorted(_folder(_KUEUE, cache, tell).glob("kueue.*.yaml"))


def kueue_webhooks(cache: Path, tell: Progress) -> Path:
    """Configurations of the webhooks, two documents. Raises CalledProcessError."""
    return _folder(_KUEUE, cache, tell) / "manifests.yaml"


def pytorch_job(cache: Path, tell: Progress) -> Path:
    """The CRD of Training Operator's PyTorchJob. Raises CalledProcessError."""
    return _folder(_PYTORCH, cache, tell) / "kubeflow.org_pytorchjobs.yaml"


def _folder(files: Files, cache: Path, tell: Progress) -> Path:
    name = files.family.name
    pins = (toolchain.MODULES / name / "go.mod").read_bytes()
    folder = cache / "bin" / f"{name}-crds-{hashlib.sha256(pins).hexdigest()[:12]}"
    if not folder.exists():
        with binaries.lock(cache, tell):
            if not folder.exists():
                _fetch(files, folder, cache)
    return folder


def _fetch(files: Files, folder: Path, cache: Path) -> None:
    def run(*arguments: str) -> str:
        done = subprocess.run(
            [str(toolchain.install(cache)), *arguments],
            cwd=toolchain.MODULES / files.family.name,
            env=toolchain.environment(cache),
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    run("mod", "download", files.module)
    module = Path(run("list", "-m", "-f", "{{.Dir}}", files.module).strip())
    new = folder.with_suffix(".new")
    new.mkdir(parents=True, exist_ok=True)
    for file in [found for pattern in files.patterns for found in module.glob(pattern)]:
        (new / file.name).write_text(file.read_text())
    new.rename(folder)
