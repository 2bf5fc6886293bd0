import json
import shutil

import pytest
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_runtime.report import RUN, digest_of_run


def run(name, *arguments):
    return boundary.run(main.load(name), f"mrct {name}", [str(a) for a in arguments])


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    folder = tmp_path_factory.mktemp("result")
    bundle = write_tiny_bundle(folder / "tiny.mrct", size=24)
    study = write_mr_study(folder / "study")
    assert run("infer", study, folder / "out", "--bundle", bundle, "--steps", 20, "--mc", 2) == 0
    return folder / "out"


@pytest.fixture
def out(result, tmp_path):
    return shutil.copytree(result, tmp_path / "out")


def test_a_result_is_as_it_was_written(out, capsys):
    count = sum(path.is_file() for path in out.rglob("*")) - 1
    assert run("verify", out) == 0
    assert capsys.readouterr().out == f"PASSED {count} files are as they were written\n"


def test_every_bit_of_every_file_is_looked_at(out, capsys):
    for path in [each for each in out.rglob("*") if each.is_file() and each.name != RUN]:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        assert run("verify", out) == 4
        name = path.relative_to(out).as_posix()
        assert capsys.readouterr().err.splitlines()[0] == f"changed  {name}"
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    assert run("verify", out) == 0


def test_what_is_missing_and_what_was_added_is_named(out, capsys):
    (out / "sct/CT.0002.dcm").unlink()
    (out / "sct/CT.0006.dcm").write_bytes(b"")
    (out / "sct.nii.gz").unlink()
    (out / "sct.nii.gz").symlink_to(out / "sct_std.nii.gz")
    assert run("verify", out, "--json", "-") == 4
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert not found["intact"]
    assert (found["missing"], found["added"]) == (["sct/CT.0002.dcm"], ["sct/CT.0006.dcm"])
    assert found["changed"] == ["sct.nii.gz"]
    assert told.err.splitlines()[-1] == (
        "mrct: error: 3 files are not as the run wrote them; make the result again"
    )


@pytest.mark.parametrize("damage", ["a digit", "cut", "a list", "a path outside"])
def test_a_run_json_that_is_not_as_it_was_written_is_refused(damage, out, capsys):
    path = out / RUN
    text = path.read_text()
    content = json.loads(text)
    changed = {
        "a digit": text.replace('"seed": 0', '"seed": 1'),
        "cut": text[:-40],
        "a list": "[]",
        "a path outside": json.dumps(content | {"outputs": {"../../etc/passwd": "0" * 64}}),
    }[damage]
    assert changed != text
    path.write_text(changed)
    assert run("verify", out) == 4
    assert "run.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd"])
def test_no_file_outside_the_result_is_looked_at(name, out, capsys):
    content = json.loads((out / RUN).read_text()) | {"outputs": {name: "0" * 64}}
    (out / RUN).write_text(json.dumps(content | {"sha256": digest_of_run(content)}))
    assert run("verify", out) == 4
    assert "lists no files that could be looked at" in capsys.readouterr().err


def test_what_is_no_result_is_refused(tmp_path, capsys):
    assert run("verify", tmp_path) == 3
    assert run("verify", tmp_path / "absent") == 3
    assert "no run.json there" in capsys.readouterr().err


def test_a_run_json_that_is_nested_without_end_is_refused(out, capsys):
    (out / RUN).write_text("[" * 100_000)
    assert run("verify", out) == 4
    assert "run.json is damaged" in capsys.readouterr().err
