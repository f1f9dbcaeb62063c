"""Builds our Dockerfiles without a container engine: buildah, which runs each step in a chroot.

Used by tests that run the product's own images, and by `make accept-images`.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from bed import system
from bed.commands import run


class Builder:
    """Builds images; layers that were built before are taken from `storage`.

    `storage` is buildah's own folder: keep it to build fast, remove it at will.
    """

    def __init__(self, storage: Path) -> None:
        storage.mkdir(parents=True, exist_ok=True)
        places = ["--root", str(storage / "root"), "--runroot", str(storage / "run")]
        self._buildah = [system.program("buildah"), *places, "--storage-driver", _driver(storage)]

    def load(self, archive: Path) -> None:
        """Take the image of an OCI archive in, for `FROM`, under the name it has there."""
        self._run("pull", "--quiet", f"oci-archive:{archive.resolve()}")

    def build(
        self,
        dockerfile: Path,
        context: Path,
        reference: str,
        out: Path,
        arguments: Mapping[str, str] | None = None,
    ) -> Path:
        """Build the image `reference` and write it to `out` as a docker archive: uncompressed.

        Nothing is pulled: `FROM` names an image that was given to `load`. Raises RuntimeError
        with the output of the build, in which the failing step comes last.
        """
        settings = [f"--build-arg={name}={value}" for name, value in (arguments or {}).items()]
        self._run(
            "build", "--isolation", "chroot", "--layers", "--force-rm", "--pull-never",
            *settings, "--tag", reference, "--file", str(dockerfile), str(context),
        )  # fmt: skip
        out.unlink(missing_ok=True)  # an archive that exists would be added to
        self._run("push", "--quiet", reference, f"docker-archive:{out.resolve()}:{reference}")
        return out

    def repack(self, archive: Path, reference: str, out: Path) -> Path:
        """Write a docker archive of `build` as an OCI archive, with compressed layers. Raises RuntimeError."""
        self._run("pull", "--quiet", f"docker-archive:{archive.resolve()}")
        out.unlink(missing_ok=True)
        self._run("push", "--quiet", reference, f"oci-archive:{out.resolve()}:{reference}")
        return out

    def _run(self, *arguments: str) -> None:
        done = subprocess.run(
            [*self._buildah, *arguments], capture_output=True, text=True, check=False
        )
        if done.returncode:  # the output of the failing step is on the one, its fate on the other
            output = (done.stdout + done.stderr)[-6000:]
            raise RuntimeError(f"buildah {' '.join(arguments)} failed:\n{output}")


def _driver(storage: Path) -> str:
    """Overlays, and whole copies where the file system is an overlay itself, as in containers."""
    kind = run(["stat", "--file-system", "--format=%T", str(storage)]).strip()
    return "vfs" if kind == "overlayfs" else "overlay"
