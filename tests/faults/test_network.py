"""No source reaches for the network, but the modules that are named here with their reason."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("runtime", "train", "export", "cli")
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "xmlrpc", "socketserver"} | {
    *("requests", "httpx", "aiohttp", "urllib3", "huggingface_hub", "pynetdicom", "ray")
}
ALLOWED = {
    "runtime/mrct_runtime/reservation.py": {"socket"},  # the name of this host
    "cli/mrct_cli/boundary.py": {"socket"},  # a pair inside the process, that wakes for signals
}
# only where --ray asks for a cluster
ALLOWED |= {"runtime/mrct_runtime/many/ray_crew.py": {"socket"}}
NODES = ("runtime/mrct_runtime/node/", "cli/mrct_cli/serve.py")


def imported(path):
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def sources():
    found = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
    names = [path.relative_to(ROOT).as_posix() for path in found]
    return [name for name in names if not name.startswith(NODES)]


@pytest.mark.parametrize("name", sources())
def test_a_module_imports_nothing_of_the_network(name):
    assert set(imported(ROOT / name)) & NETWORK == ALLOWED.get(name, set())
