import sys

import pytest

from mrct_runtime.errors import EngineError
from mrct_runtime.many.ray_crew import ray_crew


def test_without_ray_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, "")
    crew = ray_crew("local", None, None)
    with pytest.raises(EngineError, match=r"ray is not installed: pip install 'mrct\[ray\]'"):
        crew.__enter__()
