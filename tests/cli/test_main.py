import json
import os
import resource
import signal
import subprocess
import sys
import time

import click
import pytest

import mrct_runtime
from mrct_cli import boundary, main
from mrct_runtime import errors

HEAVY = {"torch", "onnx", "onnxruntime", "pydicom", "highdicom", "nibabel", "matplotlib", "cupy"}
PROBE = """
import json, sys
sys.argv = {argv!r}
from mrct_cli import main
try:
    main.{function}()
except SystemExit as end:
    print(json.dumps({{"code": end.code, "modules": sorted(sys.modules)}}))
"""


def run(*arguments, command=main.mrct):
    return boundary.run(command, "mrct", list(arguments))


def error_of(capsys):
    err = capsys.readouterr().err
    assert err.count("\n") == 1, f"one line expected, got: {err}"
    assert err.startswith("mrct: error: ")
    return err


@pytest.fixture
def failing():
    """A command that raises what it is given."""

    def make(error):
        @click.command()
        def command():
            raise error

        command.params.append(main.DEBUG)
        return command

    return make


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        ("main", ["--help"]),
        ("main_infer", ["--help"]),
        ("main_train", ["--help"]),
        ("main_export", ["--help"]),
        ("main", ["serve", "--help"]),
        ("main", ["eval", "--help"]),
        ("main", ["calibrate", "--help"]),
        ("main", ["tune", "--help"]),
        ("main", ["check", "--help"]),
        ("main", ["phantom", "--help"]),
    ],
)
def test_help_answers_in_half_a_second_and_imports_nothing_heavy(function, arguments):
    code = PROBE.format(argv=["mrct", *arguments], function=function)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # processor time, for the machine may be busy with something else
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["code"] == 0
    assert "Usage: mrct" in done.stdout
    assert not HEAVY & set(told["modules"])
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_the_group_lists_every_command_without_loading_one(capsys):
    assert run("--help") == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in main.COMMANDS)


@pytest.mark.parametrize("name", main.COMMANDS)
def test_every_listed_command_exists_and_says_what_it_does(name, capsys):
    assert run(name, "--help") == 0
    shown = capsys.readouterr().out
    assert f"Usage: mrct {name}" in shown
    assert "--debug" in shown


def test_the_version_is_the_packages(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out == f"mrct {mrct_runtime.__version__}\n"


def test_an_unknown_command_is_a_usage_error(capsys):
    assert run("translate") == 2
    assert "translate" in error_of(capsys)


def test_no_command_at_all_shows_the_help_and_is_a_usage_error(capsys):
    assert run() == 2
    assert "Usage: mrct" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.UsageError("x"), 2),
        (errors.NoInputError("x"), 3),
        (errors.SeriesError("x"), 4),
        (errors.BundleError("x"), 5),
        (errors.OutputError("x"), 6),
        (errors.EngineError("x"), 7),
        (errors.NumericError("x"), 9),
        (KeyboardInterrupt(), 130),
        (boundary.Terminated(), 143),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(error, code, failing, capsys):
    assert run(command=failing(error)) == code
    assert capsys.readouterr().err.strip().count("\n") == 0


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_that_a_library_turned_into_another_error_is_told_as_the_signal(
    sent, code, capsys
):
    @click.command()
    def command():
        try:
            signal.raise_signal(sent)
        except BaseException as error:
            raise errors.EngineError("half imported") from error

    before = signal.getsignal(sent)
    assert run(command=command) == code
    assert "nothing half-written" in error_of(capsys)
    assert signal.getsignal(sent) is before


def test_an_unexpected_error_tells_its_place_and_not_its_text(failing, capsys):
    assert run(command=failing(RuntimeError("PatientName DOE^JOHN"))) == 1
    told = error_of(capsys)
    assert "RuntimeError" in told
    assert "DOE" not in told


def test_debug_adds_the_traceback(failing, capsys):
    assert run("--debug", command=failing(errors.BundleError("it is gone"))) == 5
    told = capsys.readouterr().err
    assert "Traceback" in told
    assert told.endswith("mrct: error: it is gone\n")


def test_an_error_of_several_lines_becomes_one(failing, capsys):
    assert run(command=failing(errors.SeriesError("one\n  two"))) == 4
    assert error_of(capsys) == "mrct: error: one two\n"


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_a_command_with_its_exit_code(sent, code):
    script = (
        "import click, signal, sys, time\n"
        "from mrct_cli import boundary\n"
        # a shell's background jobs inherit an ignored SIGINT
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "@click.command()\n"
        "def wait():\n"
        "    print('ready', flush=True)\n"
        "    time.sleep(60)\n"
        "sys.exit(boundary.run(wait, 'mrct', []))\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "ready\n"
    started = time.monotonic()
    os.kill(child.pid, sent)
    _, err = child.communicate(timeout=30)
    assert child.returncode == code
    assert "Traceback" not in err
    assert time.monotonic() - started < 10


def test_importing_the_runtime_loads_no_framework():
    code = "import json, sys, mrct_runtime; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & {"torch", "onnx", "onnxruntime", "cupy", "tensorrt", "tensorrt_rtx"}
