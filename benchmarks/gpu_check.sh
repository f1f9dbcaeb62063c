#!/bin/sh
# gpu_check.py on a machine that has torch and no network, from what gpu_carry.sh has put into FOLDER.
#   sh benchmarks/gpu_check.sh FOLDER [PYTHON]
set -eu
folder=$1 python=${2:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
"$python" -m venv --system-site-packages --clear "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --no-index --no-deps --find-links "$folder/wheels" speechtrain
"$folder/venv/bin/python" -m pip install --quiet --no-index --no-deps --find-links "$folder/wheels" -r "$folder/wanted-$version.txt"
exec "$folder/venv/bin/python" benchmarks/gpu_check.py --data "$folder/data"
