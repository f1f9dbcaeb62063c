"""Builds the programs of the test bed from pinned Go modules, once, and keeps them in the cache.

A family's folder is named after a hash of all that goes into it: module pins, our own sources,
flags and the toolchain. It appears by a rename, so what is there is whole.
"""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from bed import toolchain
from bed.families import Family

Progress = Callable[[str], None]
_TELL_EVERY_SECONDS = 15.0


def folder(family: Family, cache: Path) -> Path:
    """Where the binaries of the family are, or will be."""
    return cache / "bin" / f"{family.name}-{_key(family)}"


def paths(family: Family, cache: Path) -> dict[str, Path]:
    """Name -> path of each binary, link and file that the family has."""
    names = [*family.targets, *(link for links in family.links.values() for link in links)]
    if family.stages:
        names += [_stages_file(family)]
    return {name: folder(family, cache) / name for name in names}


def ensure(family: Family, cache: Path, tell: Progress) -> dict[str, Path]:
    """Build the family if it is not there, and return `paths`.

    Two callers at a time are fine: the second waits for the first. Raises RuntimeError with the
    compiler's words when the build fails.
    """
    if not folder(family, cache).exists():
        with lock(cache, tell):
            if not folder(family, cache).exists():
                _build(family, cache, tell)
    return paths(family, cache)


def _key(family: Family) -> str:
    module = toolchain.MODULES / family.name
    sources = [toolchain.REQUIREMENTS, module / "go.mod", module / "go.sum"]
    sources += sorted(module.rglob("*.go"))
    text = json.dumps([family.targets, family.links, family.flags, family.stages])
    digest = hashlib.sha256(text.encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()[:12]


@contextmanager
def lock(cache: Path, tell: Progress) -> Iterator[None]:
    """One build at a time: two would only take each other's cores and memory."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "build.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            tell("another build is running: waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(family: Family, cache: Path, tell: Progress) -> None:
    tell(f"{family.name}: building, for the first time with these pins")
    go = toolchain.install(cache)
    target = folder(family, cache)
    target.parent.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix=f"{family.name}-", suffix=".new", dir=target.parent))
    since = time.monotonic()
    try:
        for name, package in family.targets.items():
            _compile(go, family, package, new / name, cache, tell)
        for name, links in family.links.items():
            for link in links:
                (new / link).symlink_to(name)
        if family.stages:
            (new / _stages_file(family)).write_text(_stages(go, family, cache))
        new.chmod(0o755)
        new.rename(target)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    tell(f"{family.name}: built in {time.monotonic() - since:.0f} s")


def _compile(
    go: Path, family: Family, package: str, out: Path, cache: Path, tell: Progress
) -> None:
    command = [str(go), "build", "-v", *family.flags, "-o", str(out), package]
    # a file, not a pipe: nobody needs to read along, and we can count its lines at leisure
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            command,
            cwd=toolchain.MODULES / family.name,
            env=toolchain.environment(cache),
            stdout=output,
            stderr=output,
        )
        _watch(process, output, out.name, tell)
        if process.returncode:
            raise RuntimeError(f"{' '.join(command)} failed:\n{_tail(output)}")


def _watch(process: subprocess.Popen[bytes], output: TextIO, name: str, tell: Progress) -> None:
    since = time.monotonic()
    try:
        while True:
            try:
                process.wait(_TELL_EVERY_SECONDS)
                return
            except subprocess.TimeoutExpired:
                seconds = time.monotonic() - since
                tell(f"{name}: {_line_count(output)} packages after {seconds:.0f} s")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _line_count(output: TextIO) -> int:
    # pread leaves the position alone, which the compiler shares with us
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, 0).count(b"\n")


def _tail(output: TextIO) -> str:
    size = os.fstat(output.fileno()).st_size
    return os.pread(output.fileno(), size, 0).decode(errors="replace")[-4000:]


def _stages_file(family: Family) -> str:
    return f"{next(iter(family.targets))}-stages.yaml"


def _stages(go: Path, family: Family, cache: Path) -> str:
    """The YAML documents that the module keeps beside its code, as one text."""
    command = [str(go), "list", "-f", "{{.Module.Dir}}", *family.targets.values()]
    listed = subprocess.run(
        command,
        cwd=toolchain.MODULES / family.name,
        env=toolchain.environment(cache),
        capture_output=True,
        text=True,
        check=True,
    )
    root = Path(listed.stdout.strip()) / "kustomize" / "stage"
    files = [file for stage in family.stages for file in sorted((root / stage).glob("*.yaml"))]
    return "---\n".join(file.read_text() for file in files if file.stem != "kustomization")
