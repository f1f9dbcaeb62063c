#!/bin/sh
# Called by `make lock` with the path of uv. One resolution over all extras (dev.txt) binds the
# others, so that any two locks can be installed together. No lock names a registry: the hashes
# hold with any mirror.
set -eu
uv=$1

compile() {
    "$uv" pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-annotate --no-header --no-emit-index-url --no-emit-find-links "$@"
}

compile --all-extras --output-file locks/dev.txt pyproject.toml
for extra in operator trainer cli; do
    compile --extra "$extra" --constraints locks/dev.txt --output-file "locks/$extra.txt" pyproject.toml
done
compile --output-file locks/bootstrap.txt locks/bootstrap.in
compile --no-deps --output-file locks/foreign.txt locks/foreign.in
compile --no-deps --output-file locks/lightning.txt locks/lightning.in
compile --constraints locks/dev.txt --output-file locks/release.txt locks/release.in
compile --constraints locks/dev.txt --output-file locks/wandb.txt locks/wandb.in
