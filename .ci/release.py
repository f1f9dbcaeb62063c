"""`make release`: what a version is, made and tried, in `dist/`.

    speechtrain-V.tar.gz, speechtrain-V-py3-none-any.whl     tried in an empty environment: a job is run with it
    speechtrain-chart-V.tgz                                  by Helm
    speechtrain-crds-V.yaml                                  CRD and admission policy, for who applies them apart
    speechtrain-monitoring-V.zip                             rules, alerts for Grafana, dashboards
    speechtrain-{operator,trainer}-V.oci.tar                 images; those that --images names; needs root
    speechtrain-{operator,trainer,cli}-V.cdx.json            bills of materials (CycloneDX), with licences
    RELEASE.md, SHA256SUMS

Nothing is uploaded. Where versions do not agree, or a file is not what its source says, nothing is made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).resolve().parents[1]
CHART: Final = ROOT / "charts" / "speechtrain"
FACES: Final = ("operator", "trainer", "cli")
# Licences that let an image be passed on as it is; any other is named in the notes for a person to read.
FREE: Final = re.compile(
    r"\b(apache|mit|bsd|isc|psf|python|mpl|mozilla|hpnd|zlib|unlicense|cc0|0bsd)\b", re.IGNORECASE
)
_JOB: Final = """\
apiVersion: speechtrain.dev/v1alpha1
kind: SpeechTrainingJob
metadata: {name: tried}
spec:
  recipe: {custom: {}}
  training: {maxSteps: 30, device: CPU}
  checkpoint: {uri: run, ephemeral: true}
  trainer: {command: [python3, loop.py]}
"""
_LOOP: Final = """\
for step in range(1, 31):
    print(f"step {step}/30 loss={3 / step:.4f}", flush=True)
"""


class Refused(Exception):
    """Why there is no release; a sentence."""


def versions(root: Path = ROOT) -> dict[str, str]:
    """Each place that names the version."""
    chart = root / "charts" / "speechtrain"
    head = yaml.safe_load((chart / "Chart.yaml").read_text("utf-8"))
    values = yaml.safe_load((chart / "values.yaml").read_text("utf-8"))
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return {
        "pyproject.toml: project.version": str(project["version"]),
        "Chart.yaml: version": str(head["version"]),
        "Chart.yaml: appVersion": str(head["appVersion"]),
        "values.yaml: trainer.image": values["trainer"]["image"].rpartition(":")[2],
    }


def agreed(found: Mapping[str, str]) -> str:
    """The one version. Raises Refused with each place where they differ."""
    if len({*found.values()}) != 1:
        told = "; ".join(f"{place} is {version}" for place, version in found.items())
        raise Refused(f"the versions differ: {told}; write the same into each")
    return next(iter(found.values()))


def section(changelog: str, version: str) -> str:
    """What the changelog says of a version, or of what is unreleased where it has no section yet."""
    parts = re.split(r"^## \[(.+?)\].*$", changelog, flags=re.MULTILINE)
    by_name = dict(zip(parts[1::2], parts[2::2], strict=True))
    text = by_name.get(version, by_name.get("Unreleased", "")).strip()
    if not text:
        raise Refused(f"CHANGELOG.md has no word on {version}; add `## [{version}]`")
    return text


def unusual(bill: Mapping[str, Any]) -> list[str]:
    """Packages of a bill whose licence is not known to be a free one, each with what it says of itself."""
    found = []
    for part in bill.get("components", []):
        said = [_licence(entry) for entry in part.get("licenses", [])]
        if not any(FREE.search(text) for text in said):
            found.append(
                f"{part['name']} {part.get('version', '')}: {'; '.join(said) or 'none named'}"
            )
    return sorted(found)


def _licence(entry: Mapping[str, Any]) -> str:
    own = entry.get("license", {})
    return str(entry.get("expression") or own.get("id") or own.get("name") or "")[:80]


def sums(folder: Path) -> str:
    """SHA256SUMS of a folder, as `sha256sum --check` reads them."""
    lines = []
    for path in sorted(p for p in folder.iterdir() if p.is_file() and p.name != "SHA256SUMS"):
        with path.open("rb") as stream:
            lines.append(f"{hashlib.file_digest(stream, 'sha256').hexdigest()}  {path.name}\n")
    return "".join(lines)


def run(*command: str | Path, cwd: Path = ROOT, **environment: str) -> str:
    """What a command prints. Raises Refused with its words."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        raise Refused(f"{' '.join(words)} failed:\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout


class Release:
    """One version on its way into `out`. `uv` is the one of the Makefile."""

    def __init__(self, out: Path, uv: Path, version: str) -> None:
        self.out, self.uv, self.version = out, uv, version
        stamp = run("git", "log", "-1", "--format=%ct").strip()
        self._reproducible = {"SOURCE_DATE_EPOCH": stamp}

    def path(self, name: str, ending: str) -> Path:
        """Where a part lies."""
        return self.out / f"speechtrain{name}-{self.version}{ending}"

    def distributions(self) -> Path:
        """sdist and wheel; the wheel."""
        run(
            self.uv, "build", "--quiet", "--build-constraints", "locks/bootstrap.txt",
            "--out-dir", self.out, **self._reproducible,
        )  # fmt: skip
        (self.out / ".gitignore").unlink(missing_ok=True)
        return self.path("", "-py3-none-any.whl")

    def tried(self, wheel: Path) -> str:
        """Install the wheel alone and run a job with it; how that ended."""
        with tempfile.TemporaryDirectory() as scratch:
            home = Path(scratch)
            run(self.uv, "venv", "--quiet", "--python", sys.executable, home / "env")
            python = home / "env" / "bin" / "python"
            run(self.uv, "pip", "install", "--quiet", "--python", python, wheel)
            (home / "job.yaml").write_text(_JOB, "utf-8")
            (home / "loop.py").write_text(_LOOP, "utf-8")
            program = home / "env" / "bin" / "speechtrain"
            run(
                program,
                "run",
                "job.yaml",
                cwd=home,
                PYTHONPATH="",
                PATH=f"{program.parent}:/usr/bin:/bin",
            )
            told = json.loads(
                run(program, "status", "tried", "-o", "json", cwd=home, PYTHONPATH="")
            )
        status = told.get("status", told)
        if (status.get("state"), status["progress"]["step"]) != ("Complete", 30):
            raise Refused(f"a job run by {wheel.name} alone ended as {json.dumps(status)[:2000]}")
        return "A job was run with the wheel alone: Complete, 30 steps"

    def chart(self, helm: Path) -> None:
        """The chart as a package; its own name of the file would be the wheel's namesake."""
        with tempfile.TemporaryDirectory() as scratch:
            run(helm, "package", CHART, "--destination", scratch)
            (package,) = Path(scratch).glob("*.tgz")
            shutil.copy(package, self.path("-chart", ".tgz"))

    def documents(self) -> None:
        """What is applied or imported by itself."""
        crds = [*sorted((ROOT / "crds").glob("speechtrain.dev_*.yaml"))]
        whole = "".join(
            f"---\n{path.read_text('utf-8').removeprefix('---' + chr(10))}" for path in crds
        )
        self.path("-crds", ".yaml").write_text(whole, "utf-8")
        with zipfile.ZipFile(self.path("-monitoring", ".zip"), "w", zipfile.ZIP_DEFLATED) as pack:
            for path in sorted((CHART / "files").rglob("*")):
                if path.is_file() and path.name not in {crd.name for crd in crds}:
                    pack.write(path, path.relative_to(CHART / "files"))

    def images(self, wanted: Sequence[str]) -> None:
        """OCI archives, by the builder of the test bed. Raises Refused where this machine can't build."""
        if not wanted:
            return
        from bed import rootfs, system
        from bed.cluster import log_to_stderr
        from bed.dockerfile import Builder
        from bed.layout import cache_dir
        from product import images

        if reason := system.obstacle(system.Tier.IMAGES):
            raise Refused(reason)
        builder = Builder(cache_dir() / "buildah")
        builder.load(rootfs.python_image(cache_dir(), log_to_stderr))
        for name in wanted:
            build = {"operator": images.operator_image, "trainer": images.trainer_image}[name]
            reference = f"speechtrain/{name}:{self.version}"
            archive = build(builder, cache_dir(), log_to_stderr, reference)
            builder.repack(archive, reference, self.path(f"-{name}", ".oci.tar"))

    def bills(self) -> dict[str, list[str]]:
        """A bill of materials for each lock, from its packages as installed; packages to look at, by face."""
        look: dict[str, list[str]] = {}
        with tempfile.TemporaryDirectory(dir=self.uv.parents[2]) as scratch:
            tool = self._environment(Path(scratch) / "tool", "release")
            for face in FACES:
                python = self._environment(Path(scratch) / face, face)
                bill = self.path(f"-{face}", ".cdx.json")
                run(
                    tool.parent / "cyclonedx-py", "environment", "--output-reproducible",
                    "--output-file", bill, "--of", "JSON", python,
                )  # fmt: skip
                look[face] = unusual(json.loads(bill.read_text("utf-8")))
        return look

    def _environment(self, folder: Path, lock: str) -> Path:
        run(self.uv, "venv", "--quiet", "--python", sys.executable, folder)
        python = folder / "bin" / "python"
        lines = ("--require-hashes", "--requirement", ROOT / "locks" / f"{lock}.txt")
        run(self.uv, "pip", "install", "--quiet", "--python", python, *lines)
        return python

    def notes(self, said: str, tried: str, look: Mapping[str, Iterable[str]]) -> None:
        """RELEASE.md: what changed, what was tried, what to look at."""
        commit = run("git", "rev-parse", "HEAD").strip()
        licences = "\n".join(
            f"- {face}: {'; '.join(packages) or 'nothing unusual'}"
            for face, packages in look.items()
        )
        (self.out / "RELEASE.md").write_text(
            f"# speechtrain {self.version}\n\nCommit {commit}. {tried}.\n\n{said}\n\n"
            f"## Licences that a person should read\n\n{licences}\n",
            "utf-8",
        )


def make(out: Path, uv: Path, helm: Path, images: Sequence[str]) -> Path:
    """Make it all. Raises Refused, OSError."""
    version = agreed(versions())
    said = section((ROOT / "CHANGELOG.md").read_text("utf-8"), version)
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    release = Release(out, uv, version)
    tried = release.tried(release.distributions())
    release.chart(helm)
    release.documents()
    release.images(images)
    release.notes(said, tried, release.bills())
    (out / "SHA256SUMS").write_text(sums(out), "utf-8")
    return out


def main() -> int:
    """Returns the exit code; the sentence says why it is not 0."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "dist")
    parser.add_argument("--uv", type=Path, default=ROOT / ".cache" / "bootstrap" / "bin" / "uv")
    parser.add_argument("--images", nargs="*", choices=("operator", "trainer"), default=[])
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT / "tests" / "cluster"))
    from bed import binaries, families
    from bed.cluster import log_to_stderr
    from bed.layout import cache_dir

    helm = binaries.ensure(families.HELM, cache_dir(), log_to_stderr)["helm"]
    try:
        out = make(options.out.resolve(), options.uv.resolve(), helm, options.images)
    except Refused as refused:
        sys.stderr.write(f"{refused}\n")
        return 1
    for path in sorted(out.iterdir()):
        sys.stdout.write(f"{path.stat().st_size:>12,} {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
