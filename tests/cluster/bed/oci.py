"""Writes and reads archives of images: what `ctr images import` and `buildah` take and give.

Layers are finished tar files; building an image is `dockerfile.py`, running it is `images.py`.
"""

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Config = dict[str, Any]
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class Layer:
    """A layer of an archive. `path` is None where the archive only names it."""

    digest: str
    size: int
    path: Path | None = None

    @classmethod
    def of(cls, path: Path) -> "Layer":
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return cls(f"sha256:{digest}", path.stat().st_size, path)


def write(out: Path, reference: str, layers: Sequence[Layer], config: Config) -> None:
    """Write the archive of one image, uncompressed.

    `config` is what a Dockerfile sets: Env, Entrypoint, Cmd, User, WorkingDir, Labels.
    """
    configuration = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
            "history": [{"created_by": "speechtrain test bed"} for _ in layers],  # buildah asks
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST,
            "config": _descriptor(_CONFIG, configuration),
            "layers": [
                {"mediaType": _LAYER, "digest": layer.digest, "size": layer.size}
                for layer in layers
            ],
        }
    )
    entry = _descriptor(_MANIFEST, manifest) | {
        "platform": {"architecture": "amd64", "os": "linux"},
        "annotations": {
            "io.containerd.image.name": reference,
            "org.opencontainers.image.ref.name": reference,
        },
    }
    with tarfile.open(out, "w") as archive:
        _add(archive, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(archive, "index.json", _json({"schemaVersion": 2, "manifests": [entry]}))
        for blob in (manifest, configuration):
            _add(archive, f"blobs/sha256/{_sha256(blob)}", blob)
        for layer in layers:
            if layer.path is not None:
                archive.add(layer.path, f"blobs/{layer.digest.replace(':', '/')}")


def read_config(archive: Path) -> tuple[Config, list[str]]:
    """The configuration of the (only) image in an archive, and the digests of its layers.

    The archive is an OCI one, as `write` makes it, or a docker one, as a build makes it.
    """
    with tarfile.open(archive) as tar:
        if "index.json" in tar.getnames():
            manifest = _blob(tar, _read(tar, "index.json")["manifests"][0]["digest"])
            document = _blob(tar, manifest["config"]["digest"])
        else:
            document = _read(tar, _read(tar, "manifest.json")[0]["Config"])
    return document["config"], document["rootfs"]["diff_ids"]


def chain_ids(diff_ids: Sequence[str]) -> list[str]:
    """The name of each layer together with those below it, as the OCI image spec defines it."""
    chain: list[str] = []
    for diff_id in diff_ids:
        below = chain[-1] if chain else ""
        chain.append(f"sha256:{_sha256(f'{below} {diff_id}'.encode())}" if below else diff_id)
    return chain


def _blob(archive: tarfile.TarFile, digest: str) -> Any:
    return _read(archive, f"blobs/{digest.replace(':', '/')}")


def _read(archive: tarfile.TarFile, name: str) -> Any:
    file = archive.extractfile(name)
    if file is None:
        raise ValueError(f"this is no archive of an image: {name} is no file in it")
    return json.load(file)


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {
        "mediaType": media_type,
        "digest": f"sha256:{_sha256(content)}",
        "size": len(content),
    }


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
