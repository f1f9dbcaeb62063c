"""The CustomResourceDefinitions of both kinds of runtimes, generated from the models; for `speechtrain crd` and tests.

A runtime has no status: nobody acts on it by itself. Whether it can be read, the jobs that name it say.
"""

from __future__ import annotations

from typing import Final

import yaml

from speech_contract import names
from speech_contract.api import crd
from speech_contract.api.crd import HEADER, Schema

FILE: Final = f"crds/{names.GROUP}_runtimes.yaml"
CHART_COPY: Final = f"charts/speechtrain/files/{names.GROUP}_runtimes.yaml"
FILES: Final = (FILE, CHART_COPY)
COLUMNS: Final = (("Accelerator", ".spec.accelerator"), ("Image", ".spec.trainer.image"))


def definitions() -> list[Schema]:
    """That of a namespace, and that of the whole cluster."""
    return [
        _definition(names.RUNTIME_KIND, names.RUNTIME_PLURAL, "stjr", "Namespaced"),
        _definition(names.CLUSTER_RUNTIME_KIND, names.CLUSTER_RUNTIME_PLURAL, "cstjr", "Cluster"),
    ]


def _definition(kind: str, plural: str, short: str, scope: str) -> Schema:
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{names.GROUP}"},
        "spec": {
            "group": names.GROUP,
            "names": {
                "categories": [names.CATEGORY],
                "kind": kind,
                "listKind": f"{kind}List",
                "plural": plural,
                "shortNames": [short],
                "singular": kind.lower(),
            },
            "scope": scope,
            "versions": [_version(kind)],
        },
    }


def _version(kind: str) -> Schema:
    columns = [{"name": name.upper(), "type": "string", "jsonPath": path} for name, path in COLUMNS]
    age = {"name": "AGE", "type": "date", "jsonPath": ".metadata.creationTimestamp"}
    return {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": [*columns, age],
        "schema": {"openAPIV3Schema": schema(kind)},
    }


def schema(kind: str) -> Schema:
    """The structural schema of one runtime."""
    about = "Defaults for the jobs that name it: pods, trainer, health, restarts."
    return crd.whole(kind, about, spec=crd.runtime_spec())


def render() -> str:
    """The text of the committed files."""
    text = yaml.safe_dump_all(definitions(), sort_keys=False, width=110, allow_unicode=True)
    return HEADER + str(text)


def drift(committed: str, file: str = FILE) -> str:
    """What regenerating would change in one of FILES, as a unified diff; empty when it is up to date."""
    return crd.difference(committed, render(), file)
