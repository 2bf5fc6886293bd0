from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data():
    """The folder of real studies beside the repository; tests that need it are skipped where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("no real studies: ../shared/data is absent")
    return folder
