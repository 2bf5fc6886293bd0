import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dicom_network import wait
from mr_study import write_mr_study
from orthanc import orthanc, system_program
from tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
# These make an environment of their own; .ci/run makes it and runs them word for word.
RUN_BY_CI = (
    "pip install '.[cpu]' && mrct-infer examples/study --sampler em --mc 10",
    "pip install -c constraints.txt '.[test]' && pytest",
)


EXAMPLE_SLICES = 10
NODE = "mrct serve --spool"


def fenced(language):
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def commands():
    return [line for block in fenced("sh") for line in block.splitlines()]


def test_every_fence_has_a_language_that_is_executed():
    assert set(re.findall(r"^```(\w*)$", README, re.MULTILINE)) == {"sh", "python", ""}
    assert README.count("```") == 2 * (len(fenced("sh")) + len(fenced("python")))


def test_the_first_command_does_the_main_job_and_the_second_the_tests():
    assert tuple(commands()[:2]) == RUN_BY_CI


@pytest.mark.parametrize("command", RUN_BY_CI)
def test_ci_runs_what_installs(command):
    script = (ROOT / ".ci/run").read_text("utf-8")
    assert f'readme_command "{command}"' in [line.strip() for line in script.splitlines()]


@pytest.mark.slow
def test_the_way_from_data_to_a_model_works_as_written(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "examples/recipes", tmp_path / "examples/recipes")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    (node,) = (block for block in fenced("sh") if NODE in block)
    elsewhere = (*RUN_BY_CI, *node.splitlines())
    way = [command for command in commands() if command not in elsewhere]
    assert [command.split()[0] for command in way] == [
        *("mrct", "mrct", "mrct-train", "mrct-train", "mrct-export", "mrct-export"),
        *("mrct", "mrct", "mrct-infer"),
    ]
    for command in way:
        subprocess.run(command, shell=True, check=True, cwd=tmp_path, timeout=900)
    assert (tmp_path / "phantom-08-sct/report.html").is_file()
    assert (tmp_path / "phantoms-eval/report.html").is_file()


@pytest.mark.slow
def test_the_node_beside_an_archive_works_as_written(tmp_path, monkeypatch):
    (block,) = (block for block in fenced("sh") if NODE in block)
    _, serve, push = block.splitlines()
    system_program("curl")
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=":")
    monkeypatch.delenv("MRCT_BUNDLE", raising=False)
    with orthanc(tmp_path / "orthanc") as server:
        (study,) = server.upload(ROOT / "examples/study/mr")
        monkeypatch.setenv("HOME", str(tmp_path))
        server.network.start("sh", "-c", f"exec {serve}", stderr=subprocess.DEVNULL)
        health = ("curl", "-sf", "http://127.0.0.1:8043/health")
        wait(lambda: server.network.run(*health, check=False))
        server.network.run("sh", "-c", push.replace("the study, as Orthanc names it", study))
        wait(lambda: len(server.made_here(study)) == EXAMPLE_SLICES + 1, 400)


def test_the_python_example_works_as_written(tmp_path, monkeypatch):
    write_mr_study(tmp_path / "study")
    write_tiny_bundle(tmp_path / "sde.mrct", size=24)
    monkeypatch.chdir(tmp_path)
    (example,) = fenced("python")
    exec(compile(example, "README.md", "exec"), {})
    assert (tmp_path / "out/sct/CT.0001.dcm").is_file()


def test_the_exit_codes_are_those_of_the_errors():
    from mrct_cli.boundary import INTERRUPTED, TERMINATED
    from mrct_cli.verdict import MEANINGS
    from mrct_runtime import errors

    kinds = [k for k in vars(errors).values() if isinstance(k, type)]
    codes = {k.exit_code for k in kinds if issubclass(k, errors.MrctError)}
    table = README.partition("## Exit codes")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| (\d+) \| (.*) \|$", table, re.MULTILINE)
    assert {int(code): meaning.replace("`", "") for code, meaning in listed} == MEANINGS
    assert set(MEANINGS) == codes | {0, INTERRUPTED, TERMINATED}


def test_the_table_of_outputs_names_every_file():
    from mrct_runtime import report, result

    table = README.partition("## What comes out")[2].partition("## Samplers")[0]
    names = {
        result.CT_FOLDER,
        result.STD_MAP,
        f"{result.MEAN}.nii.gz",
        f"{result.STD}.nii.gz",
        report.RUN,
    }
    assert all(name in table for name in names | {result.PREVIEW, result.MONTAGE})
