"""Our images, built from our Dockerfiles by the test bed's builder; no registry and no network in the build.

The packages that the locks pin come from the configured index once and stay in the cache, by the lock's hash.
The build context is the repository as a user has it, with those wheels in `wheels/`.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sysconfig
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from bed import oci, rootfs
from bed.binaries import Progress
from bed.cluster import Bed
from bed.dockerfile import Builder

ROOT = Path(__file__).resolve().parents[3]
IMAGE_PYTHON = "3.11"  # of bed.rootfs.PYTHON_IMAGE
OPERATOR_IMAGE = "localhost/speechtrain-operator:bed"
TRAINER_IMAGE = "localhost/speechtrain-trainer:bed"
TRAINER_WITHOUT_PACKAGES = "localhost/speechtrain-trainer-bare:bed"
# What the Dockerfiles take; .dockerignore lists the same.
CONTEXT = ("crds", "locks", "operator", "trainer_image", "LICENSE", "README.md", "pyproject.toml")
# The cache is shared by all checkouts: an archive of another one may be on its way into a node.
KEPT = 3
IN_USE_SECONDS = 3600.0
_SITE_PACKAGES = f"opt/speechtrain/lib/python{IMAGE_PYTHON}/site-packages"


def operator_image(
    builder: Builder, cache: Path, tell: Progress, reference: str = OPERATOR_IMAGE
) -> Path:
    """The archive of the operator's image. Raises RuntimeError with the words of pip or of the build."""
    return _build(builder, cache, tell, "operator", reference, locks=("bootstrap", "operator"))


def trainer_image(
    builder: Builder, cache: Path, tell: Progress, reference: str = TRAINER_IMAGE
) -> Path:
    """The archive of the trainer's, whole, with gigabytes of torch. Raises as `operator_image`."""
    return _build(builder, cache, tell, "trainer_image", reference, locks=("bootstrap", "trainer"))


def trainer_without_packages(builder: Builder, cache: Path, tell: Progress) -> Path:
    """The archive of the trainer's image but for what its lock pins. Raises as `operator_image`."""
    return _build(
        builder, cache, tell, "trainer_image", TRAINER_WITHOUT_PACKAGES,
        locks=("bootstrap",), INSTALL_FROM="none",
    )  # fmt: skip


def load_trainer(bed: Bed, builder: Builder, cache: Path, tell: Progress) -> None:
    """Give a node TRAINER_IMAGE without copying torch: this interpreter's packages lie upon the image.

    All else of it is what the Dockerfile says. Raises as `operator_image`.
    """
    archive = trainer_without_packages(builder, cache, tell)
    bed.load_image(archive)
    layer = packages_layer(cache, site_packages())
    bed.snapshot_image(TRAINER_IMAGE, [layer], config_of(archive), below=archive)


def packages_layer(cache: Path, site_packages: Path) -> Path:
    """A folder for `Bed.snapshot_image`: this interpreter's packages where the trainer looks for them.

    Hard links, so it takes a second and no space; the project itself is left out. Raises OSError.
    """
    layer = cache / "images" / f"packages-{_digest([str(site_packages), _state(site_packages)])}"
    if not layer.exists():
        new = Path(tempfile.mkdtemp(prefix="packages-", suffix=".new", dir=_made(cache / "images")))
        shutil.copytree(
            site_packages, new / _SITE_PACKAGES, copy_function=_link, symlinks=True,
            ignore=shutil.ignore_patterns("*speechtrain*", "speech_*", "_virtualenv*"),
        )  # fmt: skip
        new.chmod(0o755)
        try:
            new.rename(layer)
        except OSError:  # another checkout was quicker
            shutil.rmtree(new)
    return layer


def wheels(cache: Path, lock: Path, tell: Progress) -> Path:
    """A folder with the wheels of a lock, downloaded at the first call. Raises RuntimeError."""
    folder = cache / "wheels" / f"{lock.stem}-{_digest([lock.read_text('utf-8'), IMAGE_PYTHON])}"
    with (_made(folder.parent) / f"{lock.stem}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not folder.exists():
            tell(f"wheels of {lock.name}: downloading, for the first time with these pins")
            _download(lock, folder)
    return folder


def stage(context: Path, folders: Sequence[Path]) -> None:
    """Lay out a build context: what the Dockerfiles take of the repository, and wheels."""
    shutil.copy(ROOT / ".dockerignore", _made(context))
    for name in CONTEXT:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, context / name, ignore=ignored)
        else:
            shutil.copy(source, context)
    _made(context / "wheels")
    for folder in folders:
        for wheel in folder.glob("*.whl"):
            if not (context / "wheels" / wheel.name).exists():
                _link(str(wheel), str(context / "wheels" / wheel.name))


def _build(
    builder: Builder, cache: Path, tell: Progress, folder: str, reference: str,
    locks: Sequence[str], **settings: str,
) -> Path:  # fmt: skip
    base = rootfs.python_image(cache, tell)
    name = reference.rpartition("/")[2].partition(":")[0]
    texts = [
        base.name,
        reference,
        *locks,
        *(f"{key}={value}" for key, value in sorted(settings.items())),
    ]
    # of the same sources, pins, base and settings
    out = _made(cache / "images") / f"{name}-{_digest([*texts, _sources()])}.tar"
    with (out.parent / f"{name}.lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        if not out.exists():
            tell(f"{name}: building, for the first time with these sources")
            _make(builder, cache, tell, folder, reference, locks, settings, out)
        out.touch()  # the time of its last use
        retire(out.parent, name, time.time())
    return out


def retire(folder: Path, name: str, now: float) -> None:
    """Delete archives of an image that are neither among the newest nor in use by another checkout."""
    archives = folder.glob(f"{name}-{'?' * 12}.tar")
    by_use = sorted(archives, key=lambda archive: archive.stat().st_mtime, reverse=True)
    for archive in by_use[KEPT:]:
        if now - archive.stat().st_mtime > IN_USE_SECONDS:
            archive.unlink()


def _make(
    builder: Builder, cache: Path, tell: Progress, folder: str, reference: str,
    locks: Sequence[str], settings: Mapping[str, str], out: Path,
) -> None:  # fmt: skip
    found = [wheels(cache, ROOT / "locks" / f"{lock}.txt", tell) for lock in locks]
    # beside the cache, so that wheels need no copy
    with tempfile.TemporaryDirectory(prefix="context-", dir=out.parent) as scratch:
        context, new = Path(scratch) / "context", Path(scratch) / "image.tar"
        stage(context, found)
        arguments = {"BASE_IMAGE": rootfs.PYTHON_IMAGE, **settings}
        builder.build(context / folder / "Dockerfile", context, reference, new, arguments)
        new.rename(out)


def _sources() -> str:
    """A digest of all that a build takes of the repository."""
    digest = hashlib.sha256()
    for path in sorted(path for name in CONTEXT for path in _files(ROOT / name)):
        digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
    for child in path.iterdir() if path.is_dir() else ():
        if child.name != "__pycache__":
            yield from _files(child)


def _download(lock: Path, folder: Path) -> None:
    new = Path(tempfile.mkdtemp(suffix=".new", dir=folder.parent))
    try:
        with tempfile.TemporaryDirectory() as scratch:
            venv.create(scratch, with_pip=True)  # the interpreter of the tests may have no pip
            command = [
                f"{scratch}/bin/python", "-m", "pip", "download", "--quiet", "--require-hashes",
                "--only-binary", ":all:", "--python-version", IMAGE_PYTHON, "--dest", str(new),
                "--requirement", str(lock),
            ]  # fmt: skip
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-4000:]}")
        new.chmod(0o755)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def site_packages() -> Path:
    """Where the packages of this interpreter lie."""
    return Path(sysconfig.get_path("purelib"))


def config_of(archive: Path) -> oci.Config:
    """What the Dockerfile set."""
    return oci.read_config(archive)[0]


def _link(source: str, target: str) -> str:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)
    return target


def _state(site: Path) -> str:
    """Changes with every package that is installed or removed, and once they are compiled."""
    found = [*site.glob("*.dist-info"), *site.glob("torch/__pycache__")]
    return ",".join(sorted(path.name for path in found))


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:12]


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder
