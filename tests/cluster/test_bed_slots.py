"""A slot has one holder on the machine; what a dead holder left is found and removed."""

import os
from pathlib import Path

import pytest
from bed import slots, system
from bed.layout import SLOTS, Layout


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(system, "has_namespaces", lambda: False)  # links and groups stay alone
    monkeypatch.setattr(slots, "_NAME", f"speechtrain-bed-test-{os.getpid()}")
    return tmp_path / "root"


def test_two_claims_take_two_slots_even_with_two_folders(root: Path, tmp_path: Path) -> None:
    one, other = (slots.claim(path, private=False) for path in (root, tmp_path / "other"))
    assert one.layout.slot != other.layout.slot
    one.release()
    other.release()


def test_a_released_slot_can_be_taken_again(root: Path) -> None:
    first = slots.claim(root, private=False)
    second = slots.claim(root, private=False)
    first.release()
    third = slots.claim(root, private=False)
    assert third.layout.slot <= first.layout.slot
    second.release()
    third.release()


def test_the_sweep_spares_the_living_and_takes_the_dead(root: Path) -> None:
    living, dead = slots.claim(root, private=False), slots.claim(root, private=False)
    for claim in (living, dead):
        claim.layout.run.mkdir(parents=True)
    dead.release()  # as the kernel does when a keeper is killed
    assert slots.sweep(root) == []
    assert living.layout.run.exists()
    assert not dead.layout.run.exists()
    assert slots.clean(living.layout) == []
    living.release()
    assert not root.exists()


def test_no_slot_left_is_said(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_hold", lambda slot: None)
    with pytest.raises(RuntimeError, match=f"all {SLOTS} slots"):
        slots.claim(root, private=False)


def test_cleaning_what_is_clean_already_is_fine(root: Path) -> None:
    assert slots.clean(Layout(0, False, root)) == []
