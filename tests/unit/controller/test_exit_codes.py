"""What a command ends with when the leader could not ask the API server for it."""

import pytest

from hamgr.controller.requests.handlers import exit_code_of
from hamgr.kube.errors import Conflict, Forbidden, KubeError, Unauthorized, Unavailable


@pytest.mark.parametrize(
    ("kind", "code"), [(Unavailable, 69), (Unauthorized, 77), (Forbidden, 77), (Conflict, 1), (KubeError, 1)]
)
def test_the_exit_code_tells_an_api_server_that_is_away_from_one_that_refuses(kind: type[KubeError], code: int) -> None:
    assert exit_code_of(kind(0, "", "")) == code
