#!/bin/sh
# What a machine with torch and without a network lacks for gpu_check.sh: wheels of all but torch, and speech.
#   sh benchmarks/gpu_carry.sh PYTHON PIP FOLDER      PYTHON: one with this project installed; PIP: one with pip
# Wheels are taken for several versions of Python, since the other machine's is not known.
set -eu
python=$1 pip=$2 folder=$3
rm -rf "$folder"
mkdir -p "$folder/wheels"
# torch and what comes with it there, what only a hub or a cluster needs, and the voices: the speech is carried made
left='^(torch|torchaudio|numpy|nvidia-.*|cuda-.*|triton|sympy|mpmath|networkx|jinja2|markupsafe|filelock|fsspec|setuptools'
left="$left|hf-xet|espeakng-loader)=="
for version in 3.11 3.12 3.13; do
  "$python" - "$left" "$version" locks/trainer.txt > "$folder/wanted-$version.txt" <<'PY'
import re, sys
from packaging.requirements import Requirement
left, version, *locks = sys.argv[1:]
place = {"python_version": version, "python_full_version": f"{version}.0", "sys_platform": "linux",
         "platform_machine": "x86_64", "implementation_name": "cpython", "platform_python_implementation": "CPython"}
wanted = set()
for lock in locks:
    for line in open(lock, encoding="utf-8"):
        line = line.partition(" \\")[0].strip()
        if "==" in line and not line.startswith(("#", "--")) and not re.match(left, line):
            found = Requirement(line)
            if found.marker is None or found.marker.evaluate(place):
                wanted.add(f"{found.name}{found.specifier}")
print("\n".join(sorted(wanted)))
PY
  "$pip" -m pip download --quiet --no-deps --only-binary :all: --python-version "$version" \
    --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 --platform manylinux2014_x86_64 \
    --platform manylinux1_x86_64 --platform any --dest "$folder/wheels" -r "$folder/wanted-$version.txt" || \
    echo "some wheel is missing for Python $version" >&2
done
"$pip" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir "$folder/wheels" .
"$python" -m speech_cli.main data synthesize --language te --sentences 96 --out "$folder/data" > /dev/null
du -sh "$folder"
