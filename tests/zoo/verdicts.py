"""What the rules said of every drawn run, to the word: the answers that the zoo's tests compare with.

    make verdicts        judge again, write verdicts.json, print what has changed

Bounds tell that a fault is named in time; a rule that counts one report too many keeps within them and is seen here
alone. Whoever changes a rule on purpose writes the file again, and the change is read like any other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from curves import FAULTS, HEALTHY, make
from judging import judge, listen
from silences import PATIENCE, STOPS, unfold

SEEDS = range(4)
FILE = Path(__file__).with_name("verdicts.json")

SILENCE = "silence: "

Said = list[list[str]]  # of each seed, the course


def known() -> dict[str, Said]:
    """Kind → what was said of each seed."""
    return dict(json.loads(FILE.read_text(encoding="utf-8")))


def judged() -> dict[str, Said]:
    """The same by the rules as they are now."""
    curves = {
        kind: [judge(make(kind, seed)).course for seed in SEEDS] for kind in [*FAULTS, *HEALTHY]
    }
    silences = {
        f"{SILENCE}{kind}": [listen(kind, unfold(kind, seed)).course for seed in SEEDS]
        for kind in [*STOPS, *PATIENCE]
    }
    return curves | silences


def main() -> int:
    """Write anew."""
    before = known() if FILE.exists() else {}
    after = judged()
    FILE.write_text(json.dumps(after, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    changed = [kind for kind in before | after if before.get(kind) != after.get(kind)]
    for kind in changed:
        print(f"{kind}\n  - {before.get(kind)}\n  + {after.get(kind)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
