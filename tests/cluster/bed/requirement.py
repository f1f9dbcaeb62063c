"""The one place that decides what a test does on a machine that cannot carry its tier.

It is skipped with the reason; where `CI` is `true` a skip is a failure, so no tier falls silent.
"""

import os

import pytest
from bed import system
from bed.system import Tier


def require(*tiers: Tier) -> None:
    """Skip the running test, or in CI fail it, when this machine cannot carry one of the tiers."""
    for tier in tiers:
        if reason := system.obstacle(tier):
            if os.environ.get("CI") == "true":
                pytest.fail(f"{reason}; with CI=true that is a failure", pytrace=False)
            pytest.skip(reason)
