import gc

import pytest


@pytest.fixture(autouse=True)
def _collected():
    """pynetdicom leaves sockets that the other side has closed to the collector, which is to warn in the test that did so."""
    yield
    gc.collect()


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "node":
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <.*socket:ResourceWarning"))
            item.add_marker(
                pytest.mark.filterwarnings(
                    "ignore:.*socket:pytest.PytestUnraisableExceptionWarning"
                )
            )
