"""House rules that no off-the-shelf tool checks, each also tried on a planted fault."""

from __future__ import annotations

import ast
import fnmatch
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCE_FOLDERS = ("crds", "operator", "trainer_image")
UNIT_TESTS_WITHOUT_SLEEP = (
    "tests/contract",
    "tests/health",
    "tests/operator/test_exclusion.py",
    "tests/operator/test_failure_and_restart.py",
    "tests/operator/test_gang.py",
    "tests/operator/test_health.py",
    "tests/operator/test_policies.py",
    "tests/operator/test_success.py",
    "tests/operator/test_suspend.py",
)
LONGEST_FUNCTION = 60
LONGEST_FILE = 400

CROSSING_NAME = re.compile(r"SPEECHTRAIN_[A-Z_]+|(?:[a-z.-]+\.)?speechtrain\.dev(?:/.*)?")

# Rooms that an import contract must bind from the day they exist.
BOUND_ROOMS = (
    "speech_operator.reconcile",
    "speech_operator.policies",
    "speech_operator.resources",
    "speech_operator.status",
    "speech_trainer.engine",
    "speech_trainer.preflight",
    "speech_trainer.losses",
    "speech_trainer.audio",
    "speech_trainer.data",
)

# Modules of the library without a test of their own, and whose tests reach them.
TESTED_THROUGH = {
    "speech_contract.api.pod": "test_validation",
    "speech_contract.api.volumes": "test_validation",
    "speech_contract.causes": "tests/telemetry, where ranks end of them",
    "speech_contract.checks": "test_thresholds",
    "speech_contract.owner": "tests/telemetry/test_ownership",
    "speech_contract.paths": "tests/trainer, which write there",
}

REGISTRY = re.compile(r"https?://|--(?:extra-)?index-url|--find-links|pypi\.|pythonhosted")
TEXTS = (".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".json", ".txt", "")
ELSEWHERE = re.compile(r"\bDESIGN(?:\.md|'s| section| §)")
# The formatter breaks a line that is too long for its comment, and leaves the comment behind the closing bracket.
TORN = re.compile(r"^\s*[)\]}]+,?:?  # (?!noqa|type: )(?!.*fmt: skip)")
MACHINE_PATH = re.compile(r"(?<![\w.])/(?:work|root|home/\w+)/[\w.-]")

Rule = Callable[[ast.AST], Iterator[str]]


def tracked(*patterns: str) -> list[Path]:
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *patterns],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    return [path for name in listing.split("\0") if name and (path := ROOT / name).is_file()]


def modules(*places: str) -> list[Path]:
    """Python files at the places, of which none may be empty: a guard of nothing guards nothing."""
    found = {place: [p for p in tracked(place) if p.suffix == ".py"] for place in places}
    empty = [place for place, paths in found.items() if not paths]
    assert empty == [], f"no Python file at {', '.join(empty)}"
    return sorted({path for paths in found.values() for path in paths})


def broken(paths: list[Path], rule: Rule) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}: {fault}"
        for path in paths
        for fault in rule(ast.parse(path.read_text(encoding="utf-8")))
    ]


def called(node: ast.AST) -> str:
    return ast.unparse(node.func) if isinstance(node, ast.Call) else ""


def unsafe_loads(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if called(node) in ("torch.load", "pickle.load", "pickle.loads"):
            assert isinstance(node, ast.Call)
            safe = {k.arg: ast.unparse(k.value) for k in node.keywords}.get("weights_only")
            if safe != "True":
                yield f"line {node.lineno}: {called(node)} without weights_only=True"


def sleeps(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if called(node) in ("time.sleep", "sleep", "asyncio.sleep"):
            assert isinstance(node, ast.Call)
            if [ast.unparse(argument) for argument in node.args] != ["0"]:
                yield f"line {node.lineno}: {called(node)}; take the clock as an argument"


def long_functions(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > LONGEST_FUNCTION:
                yield f"line {node.lineno}: {node.name} has {lines} lines"


def undocumented(tree: ast.AST) -> Iterator[str]:
    assert isinstance(tree, ast.Module)
    if tree.body and not ast.get_docstring(tree):
        yield "no docstring says what room this is and who calls it"


def retyped_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if CROSSING_NAME.fullmatch(node.value):
                yield f"line {node.lineno}: {node.value!r} belongs to speech_contract"


def process_wide(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if called(node) in ("torch.set_flush_denormal", "torch.set_num_threads"):
            assert isinstance(node, ast.Call)
            yield f"line {node.lineno}: {called(node)} is for the whole process; prepare_torch does it"


@pytest.mark.parametrize(
    ("rule", "planted"),
    [
        (unsafe_loads, "torch.load(path)"),
        (unsafe_loads, "torch.load(path, weights_only=False)"),
        (unsafe_loads, "pickle.loads(blob)"),
        (sleeps, "time.sleep(1)"),
        (sleeps, "await asyncio.sleep(0.1)"),
        (long_functions, "def f():\n" + "    x = 1\n" * LONGEST_FUNCTION),
        (undocumented, "x = 1"),
        (retyped_names, "os.environ['SPEECHTRAIN_SOCKET']"),
        (retyped_names, "labels = {'speechtrain.dev/job-name': name}"),
        (process_wide, "torch.set_flush_denormal(True)"),
    ],
)
def test_a_planted_fault_is_found(rule: Rule, planted: str) -> None:
    assert list(rule(ast.parse(planted)))


@pytest.mark.parametrize(
    ("rule", "fine"),
    [
        (unsafe_loads, "torch.load(path, weights_only=True)"),
        (sleeps, "await asyncio.sleep(0)"),
        (long_functions, "def f():\n" + "    x = 1\n" * (LONGEST_FUNCTION - 1)),
        (undocumented, ""),
        (retyped_names, "'set SPEECHTRAIN_SOCKET to a path'"),
    ],
)
def test_what_is_fine_is_left_alone(rule: Rule, fine: str) -> None:
    assert list(rule(ast.parse(fine))) == []


def test_a_guarded_place_that_is_not_there_is_found() -> None:
    with pytest.raises(AssertionError, match="no Python file at tests/nowhere"):
        modules("tests/contract", "tests/nowhere")


@pytest.mark.parametrize("rule", [long_functions, undocumented, unsafe_loads])
def test_the_packages_keep_the_rule(rule: Rule) -> None:
    assert broken(modules(*SOURCE_FOLDERS), rule) == []


def test_only_the_owner_of_a_process_sets_it_up() -> None:
    owner = ROOT / "trainer_image/speech_trainer/engine/distributed.py"
    assert broken([p for p in modules("trainer_image") if p != owner], process_wide) == []


def test_tests_and_examples_load_nothing_unsafe() -> None:
    assert broken(modules("tests", "examples", "benchmarks"), unsafe_loads) == []


def test_unit_tests_do_not_sleep() -> None:
    assert broken(modules(*UNIT_TESTS_WITHOUT_SLEEP), sleeps) == []


def test_names_that_cross_a_process_are_typed_once() -> None:
    assert broken(modules("operator", "trainer_image"), retyped_names) == []


def test_files_stay_readable() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in modules(*SOURCE_FOLDERS)
        if (lines := path.read_text(encoding="utf-8").count("\n")) > LONGEST_FILE
    }
    assert long == {}


def test_no_comment_is_torn_from_its_line() -> None:
    assert TORN.match("    )  # the reason")
    assert not TORN.match("    )  # fmt: skip")
    found = [
        f"{path.relative_to(ROOT)}:{number}: put the comment above"
        for path in tracked("*.py")
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1)
        if TORN.match(line)
    ]
    assert found == []


def test_folders_that_would_shadow_or_nest_hold_no_init() -> None:
    assert tracked("operator/__init__.py", "tests/**/__init__.py", "tests/__init__.py") == []


def test_every_library_module_has_its_tests() -> None:
    """A test file of its name, or one in its room that imports it."""
    untested = {
        module
        for package, room in {"speech_contract": "contract", "speech_health": "health"}.items()
        for module in library(package)
        if module.rpartition(".")[2] not in named(room) and module not in imported(room)
    }
    assert untested == TESTED_THROUGH.keys()


def library(package: str) -> list[str]:
    paths = [p for p in modules(f"*/{package}/*") if p.name != "__init__.py"]
    return [".".join(p.relative_to(ROOT).with_suffix("").parts[1:]) for p in paths]


def named(room: str) -> set[str]:
    return {path.stem.removeprefix("test_") for path in modules(f"tests/{room}")}


def imported(room: str) -> set[str]:
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in modules(f"tests/{room}")]
    froms = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)]
    whole = {str(node.module) for node in froms}
    return whole | {f"{node.module}.{alias.name}" for node in froms for alias in node.names}


def test_locks_pin_hashes_and_name_no_registry() -> None:
    for lock in tracked("locks/*.txt"):
        text = lock.read_text(encoding="utf-8")
        pins = re.findall(r"^\S+==\S+", text, re.MULTILINE)
        assert pins, lock.name
        assert not REGISTRY.search(text), lock.name
        for block in re.split(r"\n(?=\S)", text.strip()):
            assert "--hash=sha256:" in block, f"{lock.name}: {block.splitlines()[0]}"


def test_locks_agree_with_each_other() -> None:
    pins: dict[str, dict[str, set[str]]] = {}
    for lock in tracked("locks/*.txt"):
        if lock.name in ("bootstrap.txt", "foreign.txt"):  # installed apart from the others
            continue
        for name, version in re.findall(r"^(\S+)==(\S+)", lock.read_text("utf-8"), re.MULTILINE):
            pins.setdefault(name, {}).setdefault(lock.name, set()).add(version)
    differing = {name: by for name, by in pins.items() if len(set(map(frozenset, by.values()))) > 1}
    assert differing == {}


def test_torch_and_torchaudio_are_one_pair() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"][
        "optional-dependencies"
    ]
    versions = dict(pin.split("==") for pin in extras["trainer"] if pin.startswith("torch"))
    assert versions["torch"] == versions["torchaudio"]


def test_no_path_of_one_machine_is_committed() -> None:
    here = Path(__file__).name
    found = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.name != here
        and path.suffix in TEXTS
        and MACHINE_PATH.search(path.read_text(encoding="utf-8", errors="replace"))
    ]
    assert found == []


def test_nothing_refers_to_a_document_that_is_not_here() -> None:
    here = Path(__file__).name
    pages = (path for path in tracked() if path.suffix in TEXTS and path.name != here)
    found = [page for page in pages if ELSEWHERE.search(page.read_text("utf-8", errors="replace"))]
    assert [str(page.relative_to(ROOT)) for page in found] == []


def test_every_room_that_exists_is_bound_by_an_import_contract() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    sources = [s for c in config["contracts"] for s in c.get("source_modules", ())]
    packages = {path.relative_to(ROOT).parts[1] for path in modules(*SOURCE_FOLDERS)}
    existing = [room for room in BOUND_ROOMS if room.split(".")[0] in packages and exists(room)]
    assert [r for r in existing if not any(fnmatch.fnmatch(r, s) for s in sources)] == []


def exists(room: str) -> bool:
    stem = room.replace(".", "/")
    return bool(tracked(f"*/{stem}.py", f"*/{stem}/__init__.py"))
