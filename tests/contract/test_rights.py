"""The rows of rights are the rules of the chart's role; Helm is not needed to read them."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from speech_contract.rights import (
    CLUSTER_RIGHTS,
    NODE_RIGHTS,
    OPERATOR_RIGHTS,
    QUEUE_RIGHTS,
    Right,
)

HELPERS = Path(__file__).resolve().parents[2] / "charts/speechtrain/templates/_helpers.tpl"


def rules(text: str) -> set[tuple[str, str, frozenset[str]]]:
    """RBAC rules as (group, resource, verbs), one for each resource."""
    return {
        (group, resource, frozenset(rule["verbs"]))
        for rule in yaml.safe_load(text)
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def rows(rights: tuple[Right, ...]) -> set[tuple[str, str, frozenset[str]]]:
    return {(right.group, right.resource, frozenset(right.verbs)) for right in rights}


def test_rights_are_what_the_chart_grants() -> None:
    text = HELPERS.read_text(encoding="utf-8")
    found = re.search(
        r'define "speechtrain\.jobRules" -}}\n(.*?){{- if \.Values\.kueue\.enabled }}\n(.*?){{- end }}',
        text,
        re.DOTALL,
    )
    assert found
    assert rows(OPERATOR_RIGHTS) == rules(found[1])
    assert rows(QUEUE_RIGHTS) == rules(found[2])


def test_rights_of_no_namespace_are_what_the_chart_grants() -> None:
    text = (HELPERS.parent / "rbac.yaml").read_text(encoding="utf-8")
    for role, granted in (("runtimes", CLUSTER_RIGHTS), ("nodes", NODE_RIGHTS)):
        pattern = rf"name: \{{\{{ \$name }}}}-{role}\n.*?\nrules:\n(.*?)---"
        found = re.search(pattern, text, re.DOTALL)
        assert found
        assert rows(granted) == rules(found[1])
