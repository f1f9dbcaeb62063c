"""A tier that a machine cannot carry says why; in CI that is a failure and not a skip."""

import pytest
from bed import system
from bed.requirement import require
from bed.system import Tier


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
    monkeypatch.setattr("shutil.which", lambda name, path=None: None)
    monkeypatch.setattr(system, "is_root", lambda: True)
    assert "apt-get install --no-install-recommends containerd runc" in system.obstacle(Tier.NODE)


@pytest.mark.parametrize(
    ("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_missing_tier_skips_and_fails_in_ci(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(system, "is_root", lambda: False)
    with pytest.raises(outcome, match="needs root"):
        require(Tier.NODE)
