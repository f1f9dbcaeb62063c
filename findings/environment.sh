# Sourced by the scripts beside it with the packages in $packages: a temporary environment, $python in it, gone at the end.
# uv is used where it is found, for its cache: torch alone is gigabytes.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
uv=$(command -v uv || echo "$(dirname "$0")/../.cache/bootstrap/bin/uv")
python="$place/env/bin/python"
if [ -x "$uv" ]; then
  "$uv" venv --quiet "$place/env"
  "$uv" pip install --quiet --python "$python" $packages
else
  python3 -m venv "$place/env"
  "$python" -m pip install --quiet $packages
fi
export CUDA_VISIBLE_DEVICES= OMP_NUM_THREADS=1
cd "$place"
