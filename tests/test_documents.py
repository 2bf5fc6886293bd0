"""What SECURITY.md and docs/ point at is there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = ("SECURITY.md", "docs/threat-model.md", "docs/faults.md", "requirements/README.md")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_and_link_of_a_document_is_there(name):
    text = (ROOT / name).read_text("utf-8")
    links = re.findall(r"\]\(([^)#]+)", text)
    paths = re.findall(r"`((?:tests|requirements|\.ci)/[\w./-]+)", text)
    assert [path for path in links if not ((ROOT / name).parent / path).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert links or paths


def test_every_row_of_the_threat_model_names_its_tests():
    rows = re.findall(
        r"^\| (.*) \|$", (ROOT / "docs/threat-model.md").read_text("utf-8"), re.MULTILINE
    )
    threats = [row.split(" | ") for row in rows[1:]]
    assert len(threats) > 10
    assert [row[0] for row in threats if len(row) != 3 or "`" not in row[2]] == []
