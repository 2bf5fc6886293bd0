from __future__ import annotations

import click
import pytest
from click.testing import CliRunner

from mrct_cli.engine_flags import engine_flags, target
from mrct_runtime.engines import ENGINES
from mrct_runtime.engines.target import Target


def said(*arguments: str) -> Target:
    found: list[Target] = []

    @click.command()
    @engine_flags
    @click.pass_context
    def command(context: click.Context, **_flags: object) -> None:
        found.append(target(context))

    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return found[0]


def test_without_flags_the_target_is_the_default_one() -> None:
    assert said() == Target()


@pytest.mark.parametrize("name", list(ENGINES))
def test_every_backend_can_be_named(name: str) -> None:
    assert said("--backend", name).backend == name


def test_every_flag_reaches_the_target() -> None:
    flags = ["--device", "cuda:1", "--precision", "fp16", "--threads", "2", "--no-fuse"]
    assert said(*flags) == Target("cuda:1", None, "fp16", 2, fuse=False)
