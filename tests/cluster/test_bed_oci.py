"""What we write as an image archive reads back, and layers are chained as the spec says."""

import hashlib
import tarfile
from pathlib import Path

from bed import oci


def test_a_written_archive_reads_back(tmp_path: Path) -> None:
    tree, archive = tmp_path / "tree.tar", tmp_path / "image.tar"
    with tarfile.open(tree, "w") as tar:
        tar.add(__file__, "file")
    config = {"Env": ["A=b"], "Entrypoint": ["/file"]}
    oci.write(archive, "localhost/test:bed", [oci.Layer.of(tree)], config)
    digest = f"sha256:{hashlib.sha256(tree.read_bytes()).hexdigest()}"
    assert oci.read_config(archive) == (config, [digest])


def test_the_lowest_layer_is_its_own_chain() -> None:
    assert oci.chain_ids(["sha256:a"]) == ["sha256:a"]


def test_a_chain_names_all_that_lies_below() -> None:
    chain = oci.chain_ids(["sha256:a", "sha256:b", "sha256:c"])
    second = f"sha256:{hashlib.sha256(b'sha256:a sha256:b').hexdigest()}"
    assert chain[1] == second
    assert chain[2] == f"sha256:{hashlib.sha256(f'{second} sha256:c'.encode()).hexdigest()}"
