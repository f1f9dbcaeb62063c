"""No module of ours imports itself by way of others; imports for the type checker alone count too."""

from __future__ import annotations

import grimp

PACKAGES = (
    "speech_contract",
    "speech_operator",
    "speech_cli",
    "speech_health",
    "speech_telemetry",
    "speech_trainer",
)


def circles(graph: grimp.ImportGraph) -> set[tuple[str, ...]]:
    """Sets of modules that all reach each other."""
    upstream = {module: graph.find_upstream_modules(module) for module in graph.modules}
    both = {
        module: {other for other in others if module in upstream[other]}
        for module, others in upstream.items()
    }
    return {tuple(sorted({module, *others})) for module, others in both.items() if others}


def test_a_planted_circle_is_found_and_a_diamond_is_none() -> None:
    graph = grimp.ImportGraph()
    for importer, imported in ("ab", "bc", "ca", "xy", "xz", "yw", "zw", "wa"):
        graph.add_import(importer=importer, imported=imported)
    assert circles(graph) == {("a", "b", "c")}


def test_no_module_imports_itself_by_way_of_others() -> None:
    graph = grimp.build_graph(*PACKAGES, exclude_type_checking_imports=False, cache_dir=None)
    found = circles(graph)
    assert not found, "move what these share into a module below them:\n" + "\n".join(
        " → ".join(circle) for circle in sorted(found)
    )
