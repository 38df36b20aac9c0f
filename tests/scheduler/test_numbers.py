"""Single precision: the rounding of a colocation's factor is the C compiler's."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from hamgr.cib.scores import INFINITY
from hamgr.scheduler.placement.colocation_scores import float32

scores = st.integers(-INFINITY, INFINITY)


@given(scores, scores)
def test_rounds_as_a_c_float_does(score: int, other: int) -> None:
    for value in (score / INFINITY, score / INFINITY * other):
        assert float32(value) == struct.unpack("f", struct.pack("f", value))[0]
