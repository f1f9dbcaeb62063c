"""Puts images into the containerd of a test cluster: from an archive, or without copying.

The second way is for layers of gigabytes that lie unpacked on this machine already, such as the
site-packages with torch. containerd takes a snapshot that exists for what its digest says; so a
layer's snapshot is prepared empty, its folder replaced by a link to the ready one, and the image
imported by its manifest alone. It takes a fraction of a second for any size.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from bed import oci

Run = Callable[..., str]  # runs a command inside the cluster's namespaces, returns its output


class Images:
    """The images of one node. `enter` runs commands where its containerd runs."""

    def __init__(self, enter: Run, ctr: str, socket: Path) -> None:
        self._enter = enter
        self._ctr = [ctr, "-a", str(socket), "-n", "k8s.io"]

    def load(self, archive: Path) -> None:
        """Import every image of the archive, under the names it gives them."""
        self._run("images", "import", str(archive.resolve()))

    def names(self) -> list[str]:
        return self._run("images", "ls", "-q").split()

    def snapshot(
        self, reference: str, layers: Sequence[Path], config: oci.Config, below: Path | None = None
    ) -> None:
        """Make an image of folders of this machine, without copying a byte.

        Each folder is one layer and holds the tree from the root on (`opt/…`). Never write to it
        while the cluster runs. `below` is the archive of an image that is loaded already; the
        folders then lie upon its layers.
        """
        ready = [] if below is None else oci.read_config(below)[1]
        diff_ids = [*ready, *(_name(folder) for folder in layers)]
        chain = oci.chain_ids(diff_ids)
        for position, folder in enumerate(layers, start=len(ready)):
            parent = chain[position - 1] if position else ""
            self._commit(chain[position], parent, folder.resolve())
        named = [oci.Layer(digest, size=1) for digest in diff_ids]
        with tempfile.TemporaryDirectory() as scratch:
            manifest = Path(scratch) / "manifest.tar"
            oci.write(manifest, reference, named, config)
            self._run("images", "import", "--no-unpack", str(manifest))

    def _commit(self, name: str, parent: str, folder: Path) -> None:
        existing = self._run("snapshots", "ls").split()
        if name in existing:
            return
        key = f"bed-{name[-12:]}"
        self._run("snapshots", "prepare", key, *([parent] if parent else []))
        place = _writable_folder(self._run("snapshots", "mounts", "/anywhere", key))
        self._enter("rmdir", place)
        self._enter("ln", "-s", str(folder), place)
        self._run("snapshots", "commit", name, key)
        # else the garbage collector takes a snapshot that no unpacked image refers to
        self._run("snapshots", "label", name, "containerd.io/gc.root=bed")

    def _run(self, *arguments: str) -> str:
        return self._enter(*self._ctr, *arguments)


def link_tree(source: Path, target: Path) -> None:
    """Make `target` a copy of `source` that shares its files: for layers under another path.

    Hard links on the same file system, real copies elsewhere. Write to neither afterwards.
    """
    shutil.copytree(source, target, symlinks=True, copy_function=_link)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.EXDEV, errno.EMLINK, errno.EPERM):
            raise
        shutil.copy2(source, target, follow_symlinks=False)


def _name(folder: Path) -> str:
    """A digest for a folder: nothing compares it with the content, it only has to be its own."""
    stat = folder.stat()
    text = f"{folder.resolve()}:{stat.st_ino}:{stat.st_mtime_ns}"
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _writable_folder(mount_command: str) -> str:
    """The folder `…/fs` that a snapshot writes to, out of `mount -t … -o …`."""
    words = mount_command.replace(",", " ").split()
    for word in words:  # an overlay: there is a layer below
        if word.startswith("upperdir="):
            return word.removeprefix("upperdir=")
    for word in words:  # a bind mount: the lowest layer
        if word.endswith("/fs"):
            return word
    raise ValueError(f"no folder to write to in: {mount_command}")
