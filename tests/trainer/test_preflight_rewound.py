"""Reading ahead and putting back: whoever trains on a rewound stream can't tell."""

from __future__ import annotations

import toy
from hypothesis import given
from hypothesis import strategies as st

from speech_trainer.preflight.rewound import Rewound


def after(stream: Rewound | toy.ToyStream, batches: int) -> list[object]:
    seen: list[object] = []
    for _ in range(batches):
        batch = stream.next_batch()
        seen.append((batch.positions, stream.position, stream.state_dict(), stream.skipped))
    return seen


@given(peeked=st.integers(0, 4), before=st.integers(0, 3), batches=st.integers(0, 7))
def test_what_was_peeked_at_comes_again(peeked: int, before: int, batches: int) -> None:
    plain, rewound = toy.ToyStream(0, 1), toy.ToyStream(0, 1)
    after(plain, before)
    after(rewound, before)
    again = Rewound(rewound)
    shown = [batch.positions for (batch,) in again.peek_steps(peeked)]
    assert (again.position, again.state_dict()) == (plain.position, plain.state_dict())
    expected = after(plain, max(batches, peeked))
    assert after(again, max(batches, peeked)) == expected
    assert shown == [entry[0] for entry in expected[:peeked]]  # type: ignore[index]


@given(peeked=st.integers(1, 4), taken=st.integers(0, 5))
def test_a_window_that_was_read_ahead_of_is_passed_over(peeked: int, taken: int) -> None:
    plain, rewound = toy.ToyStream(0, 1), Rewound(toy.ToyStream(0, 1))
    rewound.peek_steps(peeked)
    assert after(rewound, taken) == after(plain, taken)
    window = (plain.position, plain.position + 6)
    plain.skip([window])
    rewound.skip([window])
    assert after(rewound, 3) == after(plain, 3)


def test_a_restored_state_forgets_what_was_ahead() -> None:
    rewound = Rewound(toy.ToyStream(0, 1))
    rewound.peek_steps(3)
    rewound.load_state_dict({"position": 40})
    assert rewound.next_batch().positions == (40, 41, 42, 43)


def test_steps_of_several_batches_are_peeked_at_whole() -> None:
    class Uneven(toy.ToyStream):
        """Steps of 1, 2, 3 and 1 batches."""

        taken = 0

        @property
        def micro_batches(self) -> int:  # type: ignore[override]
            return {0: 1, 1: 2, 3: 3}.get(self.taken, 1)

        def next_batch(self) -> toy.ToyBatch:
            self.taken += 1
            return super().next_batch()

    plain, rewound = Uneven(0, 1), Rewound(Uneven(0, 1))
    assert [len(step) for step in rewound.peek_steps(4)] == [1, 2, 3]
    for count in (1, 2, 3, 1):
        assert rewound.micro_batches == plain.micro_batches == count
        assert after(rewound, count) == after(plain, count)
