"""What a model looks like from inside, at its last evaluation: plots and maps for the page. Called by `folder`.

From `pictures.json` beside the samples, and from sections of the strategic log that tell shares by layer and head.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from speech_contract import codec
from speech_contract.errors import ContractError
from speech_contract.pictures import FILE, LIMIT_BYTES, Map, Pictures, Plot
from speech_telemetry.series import Row, as_number

_LAYER: Final = re.compile(r"layer \d+")
_BY_HEAD: Final = ", by head"


def pictures_of(
    folder: Path | None, sections: Sequence[tuple[str, Row]], notes: list[str]
) -> Pictures:
    """All that can be drawn, within the limits; what can't be read is noted."""
    told = _file(folder / FILE, notes) if folder is not None else Pictures()
    maps = [one for title, facts in sections for one in _attention(title, facts)]
    plots = [plot for plot in map(_sound, told.plots) if plot.lines]
    return Pictures(plots, [*filter(_even, told.maps), *maps]).fitted()


def _file(path: Path, notes: list[str]) -> Pictures:
    try:
        if path.is_symlink() or path.stat().st_size > LIMIT_BYTES:
            notes.append(f"{path.name} is a link or over {LIMIT_BYTES // 1024} KiB: not drawn")
            return Pictures()
        text = path.read_text(encoding="utf-8", errors="replace")
        return codec.loads(Pictures, text, path.name, codec.Reading.NEWER)
    except FileNotFoundError:
        return Pictures()
    except (OSError, OverflowError, ContractError) as error:
        notes.append(f"{path.name} cannot be read: {error}")
        return Pictures()


def _sound(plot: Plot) -> Plot:
    """Without lines that have a point that is none: no axis can hold it."""
    lines = [line for line in plot.lines if all(map(math.isfinite, (*line.x, *line.y)))]
    return Plot(plot.title, plot.across, plot.up, [line for line in lines if line.x], plot.note)


def _even(one: Map) -> bool:
    """Whether each row has its label and the same number of finite values."""
    sizes = {len(row) for row in one.values}
    finite = all(math.isfinite(value) for row in one.values for value in row)
    return len(one.rows) == len(one.values) and len(sizes) == 1 and sizes != {0} and finite


def _attention(title: str, facts: Mapping[str, Any]) -> Iterator[Map]:
    """Of `{"layer 0": {"reference audio, by head": [0.1, …], "reference audio": 0.1, …}, …}`."""
    layers = {
        name: own
        for name, own in facts.items()
        if _LAYER.fullmatch(str(name)) and isinstance(own, Mapping)
    }
    if not layers:
        return
    said = str(facts.get("verdict") or "")
    for name in dict.fromkeys(key for own in layers.values() for key in own):
        if name.endswith(_BY_HEAD):
            values = [_numbers(own.get(name)) for own in layers.values()]
            heard = name.removesuffix(_BY_HEAD)
            found = Map(f"{title}: {heard}", "heads, from 0", list(layers), values, said)
            if _even(found):
                yield found


def _numbers(value: Any) -> list[float]:
    """A list of shares; empty for anything else."""
    read = [as_number(one) for one in value] if isinstance(value, list) else []
    return [] if None in read else [one for one in read if one is not None]
