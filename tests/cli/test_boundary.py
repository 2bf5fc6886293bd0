import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from mrct_cli import boundary
from mrct_cli.boundary import GRACE_SECONDS
from mrct_cli.verdict import MEANINGS
from mrct_runtime.errors import UsageError

# a call of a library that does not come back, and that no signal interrupts
BUSY = (
    "import click, hashlib, signal\n"
    "from mrct_cli import boundary\n"
    "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "boundary.GRACE_SECONDS = 0.3\n"
    "@click.command()\n"
    "def busy():\n"
    "    print('busy', flush=True)\n"
    "    hashlib.pbkdf2_hmac('sha256', b'x', b'x', (1 << 31) - 1)\n"
    "raise SystemExit(boundary.run(busy, 'busy', []))\n"
)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_call_that_does_not_come_back_is_left_after_the_grace(sent, code):
    child = subprocess.Popen(
        [sys.executable, "-c", BUSY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "busy\n"
    # the call comes after the line
    time.sleep(0.5)
    started = time.monotonic()
    child.send_signal(sent)
    last, told = child.communicate(timeout=30)
    assert child.returncode == code
    assert told.splitlines() == [
        "mrct: error: stopped in the middle of a long step; what was finished before it is on the disk"
    ]
    assert last == f"FAILED with exit code {code}: {MEANINGS[code]}\n"
    assert 0.25 < time.monotonic() - started < GRACE_SECONDS


def test_the_grace_leaves_time_to_be_gone_in_ten_seconds():
    assert GRACE_SECONDS < 9


def test_no_thread_and_no_descriptor_stays_behind():
    script = (
        "import click, os, signal, threading\n"
        "from mrct_cli import boundary\n"
        "nothing = click.Command('nothing', callback=lambda: None)\n"
        "boundary.run(nothing, 'nothing', [])\n"
        "before = len(os.listdir('/proc/self/fd'))\n"
        "for _ in range(5):\n"
        "    assert boundary.run(nothing, 'nothing', []) == 0\n"
        "assert len(os.listdir('/proc/self/fd')) == before\n"
        "assert threading.active_count() == 1\n"
        "assert signal.set_wakeup_fd(-1) == -1\n"
    )
    if not os.path.isdir("/proc/self/fd"):  # noqa: PTH112
        pytest.skip("no /proc/self/fd to count descriptors in")
    subprocess.run([sys.executable, "-c", script], check=True)


def test_an_error_of_any_length_is_a_line_that_can_be_read(capsys):
    def fail():
        raise UsageError(f"recipe.toml: base: {'x' * 100_000}, got a text")

    assert boundary.run(click.Command("fail", callback=fail), "fail", []) == 2
    told = capsys.readouterr().err
    assert len(told) < boundary.LONGEST + 100
    assert told.startswith("mrct: error: recipe.toml: base: xxx")
    assert told.endswith("xxx, got a text\n")


def test_a_full_disk_behind_stdout_is_told_as_one():
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full to print to")
    script = (
        "import click\n"
        "from mrct_cli import boundary\n"
        "command = click.Command('tell', callback=lambda: click.echo('x' * 100_000))\n"
        "raise SystemExit(boundary.run(command, 'tell', []))\n"
    )
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", script], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 6
    assert done.stderr.startswith(b"mrct: error: No space left on device")
    assert b"Traceback" not in done.stderr
