"""Arguments come back from the database as they went in: an approval is bound to a digest of them."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import cast, literal, select
from sqlalchemy.dialects.postgresql import JSONB

from models.tenancy import Database
from workspace.model_stream import AskedCall
from workspace.tools.arguments import parse_calls
from workspace.tools.digest import digest

pytestmark = pytest.mark.stack

any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, 1e15, 1e16, 1e17, 1e22, 1.5e300, 5e-324, 0.1, 1e-7, 123456789012345.6])
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200, deadline=None)
@given(st.dictionaries(st.text(max_size=6), any_json, max_size=5))
@example({"x": -0.0})
@example({"x": 1e22})
@example({"x": [1, 1.0, True, "1"]})
@example({"b": 1, "a": 2, "aa": 3, "": 4})
def test_the_digest_of_stored_arguments_is_that_of_the_call(own_database: Database, written: dict[str, Any]) -> None:
    (call,) = parse_calls((AskedCall("a", "read_file", json.dumps(written)),), 1, frozenset())
    if call.error is not None:
        return
    with own_database.engine.connect() as connection:
        stored = connection.scalar(select(cast(literal(call.arguments, JSONB), JSONB)))
    assert digest(call.tool, stored) == digest(call.tool, call.arguments)
