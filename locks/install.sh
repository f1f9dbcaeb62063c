#!/bin/sh
# Called by the Dockerfiles: install.sh PIP FROM LOCK [OPTION...] installs what LOCK pins, by its hashes.
# FROM: `wheels` takes the folder of that name in the build context, `index` what pip is configured for,
# `none` nothing: the packages come as a layer of their own.
set -eu
pip=$1 from=$2 lock=$3
shift 3
case $from in
    wheels)
        set -- --no-index --find-links wheels "$@"
        ls wheels/*.whl >/dev/null 2>&1 || {
            echo "wheels/ is empty: run make wheels, or build with --build-arg INSTALL_FROM=index" >&2
            exit 1
        } ;;
    index) ;;
    none) exit 0 ;;
    *) echo "INSTALL_FROM is $from; it must be wheels, index or none" >&2; exit 64 ;;
esac
exec $pip install --no-cache-dir --disable-pip-version-check --require-hashes -r "$lock" "$@"
