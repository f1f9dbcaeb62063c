"""A slot has one holder; what a dead holder left is found and removed."""

import os
from pathlib import Path

import pytest
from bed import slots, system
from bed.layout import Layout


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system, "has_namespaces", lambda: False)
    monkeypatch.setattr(slots, "_is_free", lambda layout: True)
    return tmp_path / "root"


def test_two_claims_take_two_slots(root: Path) -> None:
    one, other = slots.claim(root, private=False), slots.claim(root, private=False)
    assert (one.layout.slot, other.layout.slot) == (0, 1)
    for claim in (one, other):
        assert slots.clean(claim.layout) == []
        claim.release()
    assert not root.exists()


def test_a_slot_whose_addresses_another_has_is_passed_over(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slots, "_is_free", lambda layout: layout.slot == 2)
    claim = slots.claim(root, private=False)
    assert claim.layout.slot == 2
    assert os.listdir(root) == ["2.lock"]
    claim.release()


def test_the_sweep_spares_the_living_and_takes_the_dead(root: Path) -> None:
    living = slots.claim(root, private=False)
    living.layout.run.mkdir()
    dead = Layout(5, False, root)
    dead.run.mkdir()
    assert slots.sweep(root) == []
    assert living.layout.run.exists()
    assert not dead.run.exists()
    living.release()


def test_no_slot_left_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_is_free", lambda layout: False)
    with pytest.raises(RuntimeError, match="take a cluster down first"):
        slots.claim(root, private=False)
    assert not root.exists()
