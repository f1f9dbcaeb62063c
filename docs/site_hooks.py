"""What mkdocs cannot know of this project, called by it (`hooks` in mkdocs.yml).

The rule pages enter the navigation by being there. A link that leaves `docs/` (an example, a figure) leads into the
site to a copy of that file, as it leads to the file itself in a clone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
# On pages at the top of docs/.
OUTSIDE = re.compile(r"\]\(\.\./((?:examples|benchmarks)/[\w./-]+)\)")
COPIES = "files"


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """`Rules: rules/` becomes the list of the pages in that folder."""
    for entry in config.nav or ():
        for title, place in entry.items():
            if isinstance(place, str) and place.endswith("/"):
                pages = sorted(Path(config.docs_dir, place).glob("*.md"))
                entry[title] = [f"{place}{page.name}" for page in pages]
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Put a copy of every linked file from outside into the site."""
    texts = (file.content_string for file in list(files) if file.is_documentation_page())
    for path in sorted({found for text in texts for found in OUTSIDE.findall(text)}):
        copy = File.generated(config, f"{COPIES}/{path}", abs_src_path=str(ROOT / path))
        files.append(copy)
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Lead links to the copies."""
    return OUTSIDE.sub(rf"]({COPIES}/\1)", markdown)
