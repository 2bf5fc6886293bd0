"""Every command ends with one line on stdout that says how, and stdout that is asked for as JSON holds nothing else."""

import json
import subprocess
import sys

import click
import pytest
from mr_study import write_mr_study
from tiny_bundle import write_tiny_bundle

from mrct_cli import boundary, main
from mrct_cli.verdict import MEANINGS, ending, passed, stdout_for_programs
from mrct_runtime import errors


def run(*words, command=main.mrct):
    return boundary.run(command, "mrct", [str(word) for word in words])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny.mrct", size=24)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_mr_study(tmp_path / "study")
    return tmp_path


@pytest.mark.parametrize("name", main.COMMANDS)
def test_a_command_that_fails_ends_with_its_code_in_words_and_has_one_error_line(name, capsys):
    assert run(name, "--there-is-no-such-option") == 2
    told = capsys.readouterr()
    assert told.out == f"FAILED with exit code 2: {MEANINGS[2]}\n"
    assert told.err.count("\n") == 1
    assert told.err.startswith("mrct: error: ")


@pytest.mark.parametrize("words", [["--help"], ["infer", "--help"], ["--version"], []])
def test_what_only_tells_of_commands_has_no_verdict(words, capsys):
    run(*words)
    assert not {"PASSED", "PARTIAL", "FAILED"} & set(capsys.readouterr().out.split())


def test_check_infer_and_verify_end_with_what_there_is_now(here, bundle, capsys):
    assert run("check", "study") == 0
    assert capsys.readouterr().out.splitlines()[-1] == "PASSED this study can be translated"
    words = ("infer", "study", "out", "--bundle", bundle, "--steps", 20, "--mc", 2)
    assert run(*words, "--dry-run") == 0
    last = "PASSED this is the plan; nothing was written"
    assert capsys.readouterr().out.splitlines()[-1] == last
    assert run(*words, "--quiet") == 0
    assert capsys.readouterr() == ("PASSED wrote out: look at out/report.html\n", "")
    count = sum(path.is_file() for path in (here / "out").rglob("*")) - 1
    assert run("verify", "out") == 0
    assert capsys.readouterr().out == f"PASSED {count} files are as they were written\n"
    (here / "out/preview.png").write_bytes(b"")
    assert run("verify", "out") == 4
    assert capsys.readouterr().out == f"FAILED with exit code 4: {MEANINGS[4]}\n"


def test_json_on_stdout_is_alone_also_where_the_command_fails(here, bundle, capsys):
    words = ("infer", "study", "out", "--bundle", bundle, "--steps", 20, "--mc", 2, "--quiet")
    assert run(*words) == 0
    (here / "out/preview.png").unlink()
    capsys.readouterr()
    for code, asked in (
        (4, ("verify", "out", "--json", "-")),
        (0, ("check", "study", "--json")),
        (0, ("doctor", bundle, "--json", "-")),
    ):
        assert run(*asked) == code
        assert json.loads(capsys.readouterr().out)
    assert run("verify", "nowhere", "--json", "-") == 3
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("error", "code"), [(errors.NumericError("x"), 9), (boundary.Terminated(), 143)]
)
def test_what_is_kept_is_told_in_place_of_a_failure(error, code, capsys):
    kept = ["PARTIAL 2 of 7 slices are kept"]

    @click.command()
    def command():
        ending().so_far = lambda: kept[0]
        raise error

    assert run(command=command) == code
    told = capsys.readouterr()
    assert told.out == "PARTIAL 2 of 7 slices are kept\n"
    assert told.err.count("\n") == 1
    kept[0] = None
    assert run(command=command) == code
    assert capsys.readouterr().out == f"FAILED with exit code {code}: {MEANINGS[code]}\n"


def test_a_last_line_carries_no_byte_that_a_terminal_would_obey(capsys):
    command = click.Command("x", callback=lambda: passed("wrote a\x1b[2J"))
    assert run(command=command) == 0
    assert capsys.readouterr().out == "PASSED wrote a\\x1b[2J\n"
    silent = click.Command("x", callback=lambda: stdout_for_programs(wanted=True))
    assert run(command=silent) == 0
    assert capsys.readouterr().out == ""


def test_a_reader_that_has_gone_is_no_error():
    script = (
        "import sys, click\n"
        "from mrct_cli import boundary\n"
        "sys.stdin.read()\n"
        "sys.exit(boundary.run(click.Command('x', callback=lambda: 'PASSED'), 'x', []))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    child.stdout.close()
    told = child.stderr
    child.stdin.close()
    assert (child.wait(timeout=60), told.read()) == (0, b"")
    told.close()
