"""Reads one SpeechTrainingJob from a YAML or JSON file; called by `commands.run`.

Syntax is checked here: one document, no key that stands twice (YAML would let the last one win in silence).
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


def load(path: Path) -> dict[str, Any]:
    """The job document of a manifest. Raises UserError naming file, field, value and remedy of every fault."""
    found = documents(path)
    if len(found) != 1:
        raise UserError(
            f"{path}: holds {len(found)} documents; a local run takes exactly one "
            f"{names.KIND}: put each into a file of its own"
        )
    problems = lazily("speech_contract.api.validation", "cli").validate(found[0], local=True)
    if problems:
        raise refused(path, problems)
    document = found[0]
    assert isinstance(document, dict)
    return document


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
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no YAML: {error}; write UTF-8 text") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; check the path") from error
