import pytest

from mrct_cli import boundary, main


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--device", "gpu"], 2, "unknown device 'gpu'"),
        (["--device", "cuda:99"], 7, "not available"),
        (["--threads", "9999999999"], 2, "threads must be"),
        (["--seed", "-1"], 2, "seed"),
        (["--config", ""], 2, "an empty path"),
    ],
)
def test_a_wrong_option_is_refused_before_data_are_read(options, code, word, tmp_path, capsys):
    # a folder without data exits with 3
    arguments = [str(tmp_path), str(tmp_path / "run"), *options]
    assert boundary.run(main.load("train"), "mrct-train", arguments) == code
    assert word in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
