import os
from pathlib import Path

import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config):
    """`pytest` alone runs the files of the fast suite on up to four cores, where pytest-xdist is installed.

    What is named or marked runs in one process: long proofs measure memory and time, and a GPU is there for one.
    """
    option = config.option
    whole = config.args_source is not pytest.Config.ArgsSource.ARGS
    is_worker = hasattr(config, "workerinput")
    if not config.pluginmanager.hasplugin("xdist") or is_worker or option.numprocesses is not None:
        return
    if whole and option.markexpr == "not slow" and not option.usepdb:
        option.numprocesses = min(4, len(os.sched_getaffinity(0)))
        option.dist = "loadfile"
        # the threads of several processes would spin against each other
        os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real studies beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real studies: ../shared/data is absent")
    return folder


@pytest.fixture(scope="session")
def cuda():
    """The first GPU; tests that need it are skipped where there is none that works."""
    from mrct_runtime.cuda import Cuda, why_not

    if reason := why_not():
        pytest.skip(f"no GPU: {reason}")
    return Cuda()


@pytest.fixture
def homeless(monkeypatch):
    """This process's user is one that the system does not know, as in a container."""
    for name in ("HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 3_999_999_999)
