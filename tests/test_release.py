"""What `make release` refuses, and what it says; that it builds, `make release` itself shows."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_SPEC = importlib.util.spec_from_file_location("release", ROOT / ".ci" / "release.py")
assert _SPEC is not None
assert _SPEC.loader is not None
release = importlib.util.module_from_spec(_SPEC)
sys.modules["release"] = release
_SPEC.loader.exec_module(release)


def test_this_repository_has_one_version_and_says_what_changed():
    version = release.agreed(release.versions())
    assert release.section((ROOT / "CHANGELOG.md").read_text("utf-8"), version)


def test_versions_that_differ_are_named_with_their_places():
    with pytest.raises(
        release.Refused, match=r"pyproject\.toml.* is 0\.2\.0; Chart\.yaml.* is 0\.1\.0"
    ):
        release.agreed({"pyproject.toml: project.version": "0.2.0", "Chart.yaml: version": "0.1.0"})


CHANGES = (
    "# Changelog\n\n## [Unreleased]\n\n- new\n\n## [0.1.0] - 2026-11-28\n\n- old\n\n## [0.0.1]\n"
)


@pytest.mark.parametrize(("version", "said"), [("0.1.0", "- old"), ("0.2.0", "- new")])
def test_the_notes_are_those_of_the_version(version: str, said: str):
    assert release.section(CHANGES, version) == said


def test_a_version_without_a_word_is_refused():
    with pytest.raises(release.Refused, match=r"no word on 0\.0\.1; add"):
        release.section(CHANGES, "0.0.1")


@pytest.mark.parametrize(
    ("licences", "told"),
    [
        ([{"license": {"id": "BSD-3-Clause"}}], None),
        ([{"license": {"name": "License :: OSI Approved :: MIT License"}}], None),
        ([{"expression": "Apache-2.0 AND MIT"}], None),
        ([{"license": {"id": "GPL-3.0-or-later"}}], "p 1: GPL-3.0-or-later"),
        ([{"license": {"name": "limited"}}], "p 1: limited"),  # holds `mit` as letters alone
        ([], "p 1: none named"),
    ],
)
def test_a_licence_that_is_not_known_as_free_is_left_to_a_person(licences, told):
    bill = {"components": [{"name": "p", "version": "1", "licenses": licences}]}
    assert release.unusual(bill) == ([] if told is None else [told])


def test_the_sums_are_those_that_sha256sum_checks(tmp_path: Path):
    (tmp_path / "a.whl").write_bytes(b"a")
    (tmp_path / "b.tgz").write_bytes(b"b")
    (tmp_path / "SHA256SUMS").write_text(release.sums(tmp_path), "utf-8")
    check = ["sha256sum", "--check", "--strict", "SHA256SUMS"]
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode == 0
    (tmp_path / "a.whl").write_bytes(b"another")
    assert subprocess.run(check, cwd=tmp_path, check=False, capture_output=True).returncode != 0
