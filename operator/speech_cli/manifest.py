"""Reads one SpeechTrainingJob, and the runtime that it names, from YAML or JSON; for commands with FILE and `client`.

Syntax is checked here: one job, no key that stands twice (YAML would let the last one win in silence).
What the document may say is checked by `speech_contract.api`, the same way as on a cluster.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml

from speech_cli.errors import UserError
from speech_cli.extras import lazily
from speech_contract import names
from speech_contract.errors import ContractError


class _StrictLoader(yaml.SafeLoader):
    """SafeLoader that refuses a key written twice."""


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Hashable, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = key_node.value
        if isinstance(key, str) and key != "<<" and key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is written twice", key_node.start_mark
            )
        seen.add(key if isinstance(key, str) else id(key))
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def load(path: Path, more: Path | None = None, *, local: bool = True) -> dict[str, Any]:
    """The job document of a manifest, with what its runtime adds: one in the same file, or in the file `more`.

    `local`: for this machine, where paths may be relative; else a cluster has the runtime, and judges what comes of it.
    Raises UserError naming file, field, value and remedy of every fault.
    """
    found = documents(path)
    beside = [(path, d) for d in found if _is_runtime(d)]
    jobs = [document for document in found if not _is_runtime(document)]
    if len(jobs) != 1:
        raise UserError(
            f"{path}: holds {len(jobs)} documents; a run takes exactly one "
            f"{names.KIND}: put each into a file of its own"
        )
    beside += [(more, document) for document in documents(more)] if more else []
    if more is not None:
        _check_runtimes(more, [document for at, document in beside if at == more])
    document = _with_runtime(path, jobs[0], beside, more) if local else jobs[0]
    validate = lazily("speech_contract.api.validation", "cli").validate
    problems = [] if _left_to_cluster(document, local) else validate(document, local=local)
    if problems:
        raise refused(path, problems)
    assert isinstance(document, dict)
    return document


def _left_to_cluster(document: Any, local: bool) -> bool:
    """A job that names a runtime need not be whole by itself."""
    merging = lazily("speech_contract.api.merging", "cli")
    return not local and isinstance(document, dict) and merging.named(document) is not None


def _is_runtime(document: Any) -> bool:
    kinds = (names.RUNTIME_KIND, names.CLUSTER_RUNTIME_KIND)
    return isinstance(document, dict) and document.get("kind") in kinds


def _check_runtimes(path: Path, found: Sequence[Any]) -> None:
    """Raises UserError when a file that was named for its runtime holds none."""
    kinds = [str(d.get("kind")) if isinstance(d, dict) else type(d).__name__ for d in found]
    if not any(map(_is_runtime, found)):
        raise UserError(
            f"--runtime: {path} holds {', '.join(kinds) or 'no document'}; name a file with a "
            f"{names.RUNTIME_KIND} or a {names.CLUSTER_RUNTIME_KIND}"
        )


def _with_runtime(
    path: Path, job: Any, beside: Sequence[tuple[Path, Any]], more: Path | None
) -> Any:
    """The job as it is where it names no runtime. Raises UserError when the one that it names is missing or bad."""
    merging = lazily("speech_contract.api.merging", "cli")
    ref = merging.named(job) if isinstance(job, dict) else None
    if ref is None and more:
        raise UserError(
            f"--runtime: {str(more)!r} is for a job that names a runtime; add spec.runtimeRef to {path}, "
            "or leave the option out"
        )
    return job if ref is None else merging.effective(job, _spec_of(path, ref, beside))


def _spec_of(path: Path, ref: tuple[str, str], beside: Sequence[tuple[Path, Any]]) -> Any:
    """What that runtime says. Of two the last counts: the one that the command line names. Raises UserError."""
    runtimes = [(at, document) for at, document in beside if _is_runtime(document)]
    wanted = [(at, runtime) for at, runtime in runtimes if _called(runtime) == ref]
    if not wanted:
        have = ", ".join(" ".join(_called(runtime)) for _, runtime in runtimes) or "none"
        raise UserError(
            f"{path}: spec.runtimeRef.name: {ref[1]!r} names no {ref[0]} here; there: {have}; "
            "put it into the same file, or give its file by --runtime"
        )
    if len({at for at, _ in wanted}) < len(wanted):
        raise UserError(
            f"{wanted[-1][0]}: holds {ref[0]} {ref[1]!r} twice; keep one, or name the other differently"
        )
    place, runtime = wanted[-1]
    validation = lazily("speech_contract.api.validation", "cli")
    try:
        validation.parse_runtime(runtime)
    except validation.InvalidJob as error:
        problems = (f"{place}: {' '.join(ref)}: {problem}" for problem in error.problems)
        raise UserError("\n".join(problems)) from error
    return runtime["spec"]


def _called(runtime: dict[str, Any]) -> tuple[str, str]:
    metadata = runtime.get("metadata")
    name = metadata.get("name") if isinstance(metadata, dict) else None
    return str(runtime["kind"]), str(name)


def refused(path: Path, problems: Sequence[ContractError]) -> UserError:
    """Every broken rule of the contract, as the person at the keyboard should read it."""
    return UserError("\n".join(f"{path}: {problem}" for problem in problems))


def documents(path: Path) -> list[Any]:
    """Every document of a file that is not empty. Raises UserError with line and column."""
    try:
        text = path.read_text(encoding="utf-8")
        return [d for d in yaml.load_all(text, _StrictLoader) if d is not None]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise UserError(f"{path}{at}: is no YAML: {error.problem}; correct this line") from error
    except RecursionError as error:
        raise UserError(
            f"{path}: is nested too deep to be read; write a flatter manifest"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no YAML: {error}; write UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from error
