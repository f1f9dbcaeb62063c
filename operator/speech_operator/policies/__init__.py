"""One policy a file: each takes the snapshot, the draft of the plan and the time, and returns the next draft.

`reconcile` runs them in order until one has decided. They do no input or output and know no cluster.
"""

from __future__ import annotations

from collections.abc import Callable

from speech_operator.plan import Draft
from speech_operator.snapshot import Observed

Policy = Callable[[Observed, Draft, float], Draft]
