"""No source unpickles, or runs text as a program: searched for in the syntax tree, so that a comment is none."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("runtime", "train", "export", "cli", "benchmarks")
PICKLERS = {
    "pickle",
    "_pickle",
    "cPickle",
    "pickletools",
    "copyreg",
    "marshal",
    "shelve",
    "dbm",
} | {*("joblib", "dill", "cloudpickle", "jsonpickle", "hickle", "klepto")}
RUNNERS = {"eval", "exec", "compile", "__import__"}
# A call of one of these, by any path of names, needs this keyword with this value.
SAFE_WITH = {
    ("torch", "load"): ("weights_only", True),
    ("np", "load"): ("allow_pickle", False),
    ("np", "save"): ("allow_pickle", False),
    ("np", "savez"): ("allow_pickle", False),
    ("np", "savez_compressed"): ("allow_pickle", False),
}
NEVER = {
    ("torch", "save"),
    ("torch", "jit", "load"),
    ("torch", "hub", "load"),
    ("torch", "package"),
    ("yaml", "load"),
    ("yaml", "load_all"),
    ("yaml", "full_load"),
    ("yaml", "full_load_all"),
    ("yaml", "unsafe_load"),
    ("yaml", "unsafe_load_all"),
    ("yaml", "Loader"),
    ("yaml", "CLoader"),
    ("yaml", "FullLoader"),
    ("yaml", "UnsafeLoader"),
    ("os", "system"),
    ("os", "popen"),
}
NEVER_A_METHOD = {"read_pickle", "to_pickle", "load_checkpoint", "load_from_checkpoint"}


def sources():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def faults(text):
    """What of the text unpickles or runs a program that is not in it, as 'line: what'."""
    tree = ast.parse(text)
    full = _full_names(tree)
    for node in ast.walk(tree):
        for what in _faults_of(node, full):
            yield f"{node.lineno}: {what}"


def _full_names(tree):
    """The name that each imported name stands for, numpy as np."""
    full = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            full |= {a.asname: a.name for a in node.names if a.asname}
        elif isinstance(node, ast.ImportFrom):
            full |= {a.asname or a.name: f"{node.module}.{a.name}" for a in node.names}
    return full


def _path(node, full):
    """The names of a.b.c, in full; () of anything else."""
    if isinstance(node, ast.Name):
        first, *rest = full.get(node.id, node.id).split(".")
        return ("np" if first == "numpy" else first, *rest)
    if isinstance(node, ast.Attribute):
        inner = _path(node.value, full)
        return (*inner, node.attr) if inner else ()
    return ()


def _faults_of(node, full):
    if isinstance(node, ast.Import | ast.ImportFrom):
        module = getattr(node, "module", None)
        names = [module] if module else [alias.name for alias in node.names]
        yield from (f"imports {n}" for n in names if n.partition(".")[0] in PICKLERS)
    if isinstance(node, ast.Attribute | ast.Name):
        path = _path(node, full)
        if path in NEVER or path[:1] in {(name,) for name in RUNNERS}:
            yield ".".join(path)
    if isinstance(node, ast.Attribute) and node.attr in NEVER_A_METHOD:
        yield node.attr
    if isinstance(node, ast.Call):
        yield from _faults_of_call(node, _path(node.func, full))


def _faults_of_call(call, path):
    given = {k.arg: k.value.value for k in call.keywords if isinstance(k.value, ast.Constant)}
    if path in SAFE_WITH:
        keyword, value = SAFE_WITH[path]
        if given.get(keyword) is not value:
            yield f"{'.'.join(path)} without {keyword}={value}"
    if given.get("shell"):
        yield "a shell"
    if given.get("allow_pickle"):
        yield "allow_pickle=True"
    loads_by_name = path[-1:] == ("import_module",)
    if loads_by_name and isinstance(call.args[0], ast.Constant) and call.args[0].value in PICKLERS:
        yield f"imports {call.args[0].value}"


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_no_source_unpickles_or_runs_text(path):
    assert list(faults(path.read_text("utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "import dill as json",
        "from joblib import load",
        "from pickle import loads",
        "import shelve, json",
        "importlib.import_module('marshal')",
        "import torch\ntorch.load(path)",
        "import torch\ntorch.load(path, weights_only=False)",
        "import torch\ntorch.load(path, weights_only=flag)",
        "from torch import load\nload(path)",
        "import torch as t\nt.load(path)",
        "torch.jit.load(path)",
        "torch.save(state, path)",
        "import numpy as np\nnp.load(path)",
        "import numpy\nnumpy.load(path, allow_pickle=True)",
        "from numpy import load as read\nread(path)",
        "np.save(path, array)",
        "np.lib.format.read_array(file, allow_pickle=True)",
        "import yaml\nyaml.load(text, yaml.Loader)",
        "from yaml import UnsafeLoader\nUnsafeLoader(text)",
        "eval(text)",
        "exec(text)",
        "run = eval",
        "import builtins\nfrom builtins import exec as go\nexec(text)",
        "pandas.read_pickle(path)",
        "Model.load_from_checkpoint(path)",
        "import os\nos.system(text)",
        "subprocess.run(text, shell=True)",
    ],
)
def test_the_search_finds_what_it_is_for(text):
    assert list(faults(text)) != []


@pytest.mark.parametrize(
    "text",
    [
        "import torch\ntorch.load(path, weights_only=True)",
        "np.load(path, mmap_mode='r', allow_pickle=False)",
        "import yaml\nclass Strict(yaml.SafeLoader): pass",
        "network.eval()",
        "re.compile(pattern)",
        "'pickle.load(file)  # in a text'",
        "subprocess.run([program, text])",
        "torch.compile(network)",
    ],
)
def test_the_search_lets_safe_calls_pass(text):
    assert list(faults(text)) == []


def test_the_search_sees_every_package():
    found = {path.relative_to(ROOT).parts[1] for path in sources()}
    assert {"mrct_runtime", "mrct_train", "mrct_export", "mrct_cli"} <= found
    assert len(sources()) > 200
