"""The operator dies after every write, and every request fails once: the job ends the same, whole.

Short form: each request fails in one way, in turn. `make accept-operator` tries each way on each request.
"""

from __future__ import annotations

from apibed.admin import Admin
from apibed.sweep import changing_runtime, crash_sweep, fault_sweep


async def test_dying_after_any_write_changes_nothing(admin: Admin) -> None:
    sweep = await crash_sweep(admin)
    assert not sweep.problems, "\n\n".join(sweep.problems)
    assert len(sweep.struck) >= max(15, sweep.cases - 2)


async def test_a_runtime_that_changes_mid_run_changes_nothing(admin: Admin) -> None:
    """Whenever the operator dies, its successor goes on by what the job began with."""
    sweep = await crash_sweep(admin, changing_runtime)
    assert not sweep.problems, "\n\n".join(sweep.problems)
    assert len(sweep.struck) >= max(15, sweep.cases - 2)


async def test_any_request_may_fail_once(admin: Admin) -> None:
    sweep = await fault_sweep(admin)
    assert not sweep.problems, "\n\n".join(sweep.problems)
    assert len(sweep.struck) > 20
