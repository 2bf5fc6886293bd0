import gc
import subprocess

import pytest


@pytest.fixture
def collected():
    """pynetdicom leaves sockets that the other side has closed to the collector, which is to warn in the test that did so."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """An authority and, signed by it, a certificate for 127.0.0.1; another authority with a certificate of its own."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words):
        done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=False)
        if done.returncode:
            pytest.skip("openssl makes no certificates here")

    for name in ("good", "bad"):
        new = ("-newkey", "rsa:2048", "-nodes", "-days", "2")
        openssl(
            "req", "-x509", *new, "-subj", f"/CN={name}", "-keyout", f"{name}-ca.key",
            "-out", f"{name}-ca.pem",
        )  # fmt: skip
        openssl(
            "req", "-x509", *new, "-subj", "/CN=node", "-addext", "subjectAltName=IP:127.0.0.1",
            "-CA", f"{name}-ca.pem", "-CAkey", f"{name}-ca.key", "-keyout", f"{name}.key",
            "-out", f"{name}.pem",
        )  # fmt: skip
    return folder
