"""hamgr's own JSON writer says what the standard library's says."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hamgr.cli.json_text import dumps

scalars = st.none() | st.booleans() | st.integers() | st.text(st.characters())
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.lists(inner).map(tuple) | st.dictionaries(st.text(), inner)
)


@given(values)
def test_it_is_what_json_dumps_writes(value: object) -> None:
    assert dumps(value) == json.dumps(value)


def test_what_has_to_be_escaped_is() -> None:
    text = '"\\/\n\t\r\b\f\x00\x1f\x7f\u00e9\u2028\ud800\U0001f600'
    assert dumps([text]) == json.dumps([text])
