"""Reads one SpeechTrainingJob from a YAML or JSON file; called by `commands.run`.

Only the outside is checked here: syntax, one document, apiVersion, kind, name, unknown root fields, keys that
stand twice (YAML would let the last one win in silence). What `spec` may say is the API's business.
"""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from speech_cli.errors import UserError
from speech_contract import names
from speech_contract.errors import ContractError, nearest, shorten, unknown_field

ROOT_FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")


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
    """The job document of a manifest. Raises UserError naming file, field, value and remedy."""
    documents = _documents(path)
    if len(documents) != 1:
        raise UserError(
            f"{path}: holds {len(documents)} documents; a local run takes exactly one "
            f"{names.KIND}: put each into a file of its own"
        )
    try:
        return _checked(documents[0])
    except ContractError as error:
        raise refused(path, error) from error


def refused(path: Path, error: ContractError) -> UserError:
    """A broken rule of the contract, as the person at the keyboard should read it."""
    return UserError(f"{path}: {error}")


def _documents(path: Path) -> list[Any]:
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


def _checked(document: Any) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise ContractError("the document", document, "is no mapping", f"write a {names.KIND}")
    _expect(document, "apiVersion", names.API_VERSION)
    _expect(document, "kind", names.KIND)
    for name, value in document.items():
        if name not in ROOT_FIELDS:
            raise unknown_field("", str(name), value, ROOT_FIELDS)
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not isinstance(metadata.get("name"), str):
        raise ContractError("metadata.name", None, "is missing", "give the job a name")
    if not isinstance(document.get("spec"), dict):
        raise ContractError("spec", document.get("spec"), "is no mapping", "say what to train")
    return document


def _expect(document: dict[str, Any], field: str, wanted: str) -> None:
    value = document.get(field)
    if value == wanted:
        return
    if value is None:
        guess = nearest(field, [str(name) for name in document])
        rule = f"is missing (there is a field {shorten(guess)})" if guess else "is missing"
        raise ContractError(field, None, rule, f"write {field}: {wanted}")
    raise ContractError(field, value, "is not what this command runs", f"write {field}: {wanted}")
