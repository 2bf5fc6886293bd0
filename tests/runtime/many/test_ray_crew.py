import socket
import sys

import pytest

from mrct_runtime.errors import EngineError, UsageError
from mrct_runtime.many.ray_crew import ray_crew


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
    crew = ray_crew("local", None, None)
    with pytest.raises(EngineError, match=r"ray is not installed: pip install 'mrct\[ray\]'"):
        crew.__enter__()


def test_an_address_where_nothing_listens_is_told_at_once():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    crew = ray_crew(f"127.0.0.1:{port}", None, None)
    with pytest.raises(EngineError, match=r"no Ray cluster at 127\.0\.0\.1"):
        crew.__enter__()


@pytest.mark.parametrize("address", ["", "studies", "ray://host:10001", "host:port", ":3"])
def test_what_is_no_address_is_refused(address):
    crew = ray_crew(address, None, None)
    with pytest.raises(UsageError, match="a Ray cluster is at HOST:PORT"):
        crew.__enter__()
