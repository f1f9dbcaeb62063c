"""A tier that a machine cannot carry says why; in CI that is a failure and not a skip."""

from pathlib import Path

import pytest
from bed import system
from bed.system import Tier

CLUSTER = Path(__file__).resolve().parent
pytest_plugins = ["pytester"]


def test_a_user_without_root_is_told_what_the_node_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_root", lambda: False)
    assert "needs root" in system.obstacle(Tier.NODE)


def test_a_control_plane_needs_no_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system, "is_root", lambda: False)
    assert system.obstacle(Tier.CONTROL_PLANE) == ""


def test_missing_packages_are_named_where_we_may_not_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(system, "packages_missing", lambda tier: ["containerd", "runc"])
    monkeypatch.setattr(system.shutil, "which", lambda name, path=None: None)
    monkeypatch.setattr(system, "is_root", lambda: True)
    assert "apt-get install --no-install-recommends containerd runc" in system.obstacle(Tier.NODE)


@pytest.mark.parametrize(("ci", "outcome"), [("true", "failed"), ("", "skipped")])
def test_a_missing_tier_skips_and_fails_in_ci(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, ci: str, outcome: str
) -> None:
    monkeypatch.setenv("CI", ci)
    pytester.makepyfile(
        f"""
        import importlib.util, sys
        sys.path.insert(0, {str(CLUSTER)!r})
        from bed import system
        spec = importlib.util.spec_from_file_location("bed_conftest", {str(CLUSTER / "conftest.py")!r})
        conftest = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(conftest)

        def test_node(monkeypatch):
            monkeypatch.setattr(system, "is_root", lambda: False)
            conftest.require(system.Tier.NODE)
        """
    )
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
    result.assert_outcomes(**{outcome: 1})
    result.stdout.fnmatch_lines(["*needs root*"])
