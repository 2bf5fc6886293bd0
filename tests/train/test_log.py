import csv
import json
import subprocess
import sys
from dataclasses import replace

import pytest

from mrct_runtime.errors import OutputError
from mrct_train.log import CSV, JSONL, TENSORBOARD, Log, Row, TrainingProgress


def row(epoch, **fields):
    made = Row(
        epoch=epoch,
        step=10 * epoch,
        loss=1 / epoch,
        validation_loss=None,
        learning_rate=1e-4,
        seconds=2.0,
        samples_per_second=30.5,
    )
    return replace(made, **fields)


def table(run):
    with (run / CSV).open(newline="") as file:
        return list(csv.DictReader(file))


def records(run):
    return [json.loads(line) for line in (run / JSONL).read_text().splitlines()]


def logged(run, *rows):
    log = Log(run)
    for each in rows:
        log.append(each)
    log.close()


@pytest.fixture
def no_tensorboard(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.mark.usefixtures("no_tensorboard")
def test_a_row_is_a_line_of_both_files_with_terms_and_metrics_as_columns(tmp_path):
    logged(tmp_path, row(1, terms={"mse": 0.25}, metrics={"mae_hu": 71.5}), row(2, loss=0.125))
    first, second = table(tmp_path)
    assert (first["term_mse"], first["metric_mae_hu"]) == ("0.25", "71.5")
    assert (second["epoch"], second["step"], second["loss"]) == ("2", "20", "0.125")
    assert second["validation_loss"] == ""
    assert records(tmp_path)[0]["term_mse"] == 0.25
    assert not (tmp_path / TENSORBOARD).exists()


@pytest.mark.usefixtures("no_tensorboard")
def test_a_column_that_comes_late_leaves_the_others_in_their_place(tmp_path):
    log = Log(tmp_path)
    log.append(row(1, terms={"mse": 0.5}))
    early = (tmp_path / CSV).read_text().splitlines()[0].split(",")
    log.append(row(2, terms={"mse": 0.25, "wasserstein": -3.0}, metrics={"ssim": 0.9}))
    log.append(row(3))
    late = (tmp_path / CSV).read_text().splitlines()[0].split(",")
    assert late == [*early, "term_wasserstein", "metric_ssim"]
    assert [line["term_wasserstein"] for line in table(tmp_path)] == ["", "-3.0", ""]
    lines = (tmp_path / CSV).read_text().splitlines()
    assert {line.count(",") for line in lines} == {len(late) - 1}


@pytest.mark.usefixtures("no_tensorboard")
@pytest.mark.parametrize("step", [0, 9, 10, 19, 20, 21, 99])
def test_a_cut_keeps_exactly_the_rows_up_to_the_step(tmp_path, step):
    logged(tmp_path, *map(row, range(1, 5)))
    Log(tmp_path).cut(step)
    kept = [10 * epoch for epoch in range(1, 5) if 10 * epoch <= step]
    assert [int(line["step"]) for line in table(tmp_path)] == kept
    assert [record["step"] for record in records(tmp_path)] == kept


@pytest.mark.usefixtures("no_tensorboard")
def test_a_resumed_log_is_that_of_a_run_that_was_never_interrupted(tmp_path):
    rows = [row(epoch, metrics={"psnr": 30.0} if epoch % 2 else {}) for epoch in range(1, 6)]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir(), parts.mkdir()
    logged(whole, *rows)
    logged(parts, *rows[:4])
    Log(parts).cut(25)
    logged(parts, *rows[2:])
    for name in (CSV, JSONL):
        assert (whole / name).read_bytes() == (parts / name).read_bytes()


@pytest.mark.usefixtures("no_tensorboard")
@pytest.mark.parametrize("torn", [1, 5, 60, -1])
def test_the_line_that_a_killed_process_left_unfinished_is_dropped(tmp_path, torn):
    logged(tmp_path, row(1), row(2))
    path = tmp_path / JSONL
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + second[:torn])
    logged(tmp_path, row(2), row(3))
    assert [record["epoch"] for record in records(tmp_path)] == [1, 2, 3]
    assert [line["epoch"] for line in table(tmp_path)] == ["1", "2", "3"]


@pytest.mark.usefixtures("no_tensorboard")
def test_a_foreign_line_is_told_and_nothing_is_lost(tmp_path):
    logged(tmp_path, row(1))
    path = tmp_path / JSONL
    path.write_text("[1, 2]\n" + path.read_text())
    before = path.read_text()
    with pytest.raises(OutputError, match=r"log\.jsonl, line 1 is no row"):
        Log(tmp_path).append(row(2))
    assert path.read_text() == before


@pytest.mark.usefixtures("no_tensorboard")
def test_a_value_that_is_not_finite_is_empty_and_the_jsonl_stays_json(tmp_path):
    logged(tmp_path, row(1, metrics={"psnr": float("inf")}, validation_loss=float("nan")))
    assert (table(tmp_path)[0]["metric_psnr"], table(tmp_path)[0]["validation_loss"]) == ("", "")
    assert records(tmp_path)[0]["metric_psnr"] is None


def test_a_log_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(OutputError, match="not there"):
        Log(tmp_path / "not there").append(row(1))


def test_tensorboard_has_the_same_numbers_and_forgets_what_a_resume_takes_back(tmp_path):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logged(tmp_path, *(row(epoch, terms={"mse": float(epoch)}) for epoch in (1, 2, 3)))
    Log(tmp_path).cut(10)
    logged(tmp_path, row(2, loss=0.75, metrics={"mae_hu": 60.0}))
    events = accumulators.EventAccumulator(str(tmp_path / TENSORBOARD)).Reload()
    seen = [(event.step, event.value) for event in events.Scalars("loss/training")]
    assert seen == [(10, 1.0), (20, 0.75)]
    assert [event.step for event in events.Scalars("term/mse")] == [10]
    assert events.Scalars("metric/mae_hu")[0].value == 60.0


def test_the_log_needs_no_torch():
    code = "import mrct_train.log, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_progress_knows_the_part_that_is_done():
    place = TrainingProgress(
        step=30, total=120, epoch=2, loss=0.5, samples_per_second=9.0, seconds_left=60.0
    )
    assert place.fraction == 0.25
