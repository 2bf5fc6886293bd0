"""Every file reaches its place whole: through `write_atomically`, or in an OutputFolder that is renamed when all is in it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / part for part in ("runtime", "train", "export", "cli")]
WRITING = {
    *("write_text", "write_bytes", "savefig", "save_as", "dcmwrite", "WriteImage", "save_file"),
    *("to_filename", "imsave", "NamedTemporaryFile", "mkstemp", "savetxt", "tofile", "memmap"),
    *("TemporaryFile", "SpooledTemporaryFile", "ImageOpener"),
    *("rename", "renames", "copyfile", "copy2", "copytree", "move", "link_to", "hardlink_to"),
}
# calls of these names write where their first argument, or their receiver, is a module that does
QUALIFIED = {
    ("np", "save"),
    ("np", "savez"),
    ("nibabel", "save"),
    ("os", "replace"),
    ("os", "open"),
}
# Where a file is written under a name of its own, and why that is sound.
ALLOWED = {
    "mrct_runtime/atomic.py": "the atomic writer itself",
    "mrct_runtime/reservation.py": "the lock, which is never read as a result",
    "mrct_runtime/journal.py": "a log whose torn last line is dropped, and a buffer in memory",
    "mrct_runtime/scratch.py": "nameless files, which nobody else reads and which go with the process",
    "mrct_runtime/child.py": "a nameless file for what the child says, for the message of its end",
    "mrct_runtime/private_folder.py": "opens for reading alone",
    "mrct_runtime/golden.py": "into a buffer in memory",
    "mrct_runtime/engines/onnxruntime_fusion.py": "in a temporary folder of this process",
    "mrct_runtime/node/spool.py": "renames folders that are whole, and the lock",
    "mrct_runtime/node/jobs.py": "moves jobs by the spool's renames",
    "mrct_runtime/node/incoming.py": "moves studies by the spool's renames",
    "mrct_runtime/node/leash.py": "a number for the kernel",
    "mrct_runtime/node/inference.py": "the log of a child, which nothing reads as a result",
    "mrct_runtime/bench/picture.py": "into a buffer in memory",
    "mrct_runtime/evaluation/kept.py": "into a buffer in memory, which the atomic writer takes",
    "mrct_cli/boundary.py": "opens the null device for what nobody reads",
    "mrct_runtime/evaluation/figures/drawing.py": "into a buffer in memory",
}
# Modules that write into the folder that OutputFolder.claim gave them, and are handed it by their callers.
IN_AN_OUTPUT_FOLDER = {
    "mrct_runtime/preview.py",
    "mrct_runtime/report.py",
    "mrct_runtime/nifti.py",
    "mrct_runtime/metaimage.py",
    "mrct_runtime/dicom/composing.py",
    "mrct_runtime/dicom/segmentation.py",
    "mrct_runtime/dicom/parametric_map.py",
    "mrct_runtime/study_report/document.py",
    "mrct_runtime/evaluation/writing.py",
    "mrct_runtime/evaluation/html/document.py",
    "mrct_cli/tune.py",
    "mrct_train/data.py",
    "mrct_train/checkpoint.py",
    "mrct_train/phantom/dataset.py",
    "mrct_train/phantom/dicom.py",
    "mrct_export/bundle_writer.py",
}


def sources():
    for package in PACKAGES:
        for path in sorted(package.rglob("*.py")):
            yield path.relative_to(package).as_posix(), path.read_text("utf-8")


def writes(source: str) -> list[int]:
    """The lines on which something is written, or opened to be."""
    return [node.lineno for node in ast.walk(ast.parse(source)) if _is_writing(node)]


def _is_writing(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    owner = (
        called.value.id
        if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name)
        else ""
    )
    if name in {"open", "fdopen"} and owner != "os":
        words = [*node.args, *(each.value for each in node.keywords if each.arg == "mode")]
        modes = [w.value for w in words if isinstance(w, ast.Constant) and isinstance(w.value, str)]
        return any(set(mode) & set("wax+") and len(mode) < 5 for mode in modes)
    return name in WRITING or (owner, name) in QUALIFIED


def test_nothing_is_written_but_where_it_is_known_to_be_whole():
    found = {name for name, source in sources() if writes(source)}
    assert found - set(ALLOWED) - IN_AN_OUTPUT_FOLDER == set()


def test_the_list_names_no_module_that_writes_nothing():
    found = {name for name, source in sources() if writes(source)}
    assert (set(ALLOWED) | IN_AN_OUTPUT_FOLDER) - found == set()


@pytest.mark.parametrize(
    "line",
    [
        "path.write_text('x')",
        "open(path, 'w')",
        "path.open(mode='ab')",
        "np.save(path, array)",
        "figure.savefig(path)",
        "shutil.move(a, b)",
        "os.replace(a, b)",
    ],
)
def test_each_way_of_writing_is_noticed(line):
    assert writes(line) == [1]


@pytest.mark.parametrize("line", ["open(path)", "path.open('rb')", "text.replace('a', 'b')"])
def test_reading_is_no_writing(line):
    assert writes(line) == []
