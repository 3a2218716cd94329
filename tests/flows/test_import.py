"""What `signalbox import` refuses at once."""

import pickle
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def published(tmp_path: Path) -> Path:
    (tmp_path / "routerbench_0shot.pkl").write_bytes(pickle.dumps([1]))
    (tmp_path / "table.csv").write_text("text,a\nx,1\n")
    return tmp_path


@pytest.mark.parametrize("form", ["routerbench", "routereval", "table"])
def test_a_pickle(form: str, told: Any, published: Path) -> None:
    result = told("import", "--format", form, "--path", "routerbench_0shot.pkl", "--lake", "lake")
    result.refused("routerbench_0shot.pkl: is a pickle", "convert it yourself")
    assert ("python -c" in result.err) == (form != "table")
    assert not (published / "lake").exists()


def test_a_text_column_for_a_format_that_knows_its_own(told: Any, published: Path) -> None:
    words = ("--path", "table.csv", "--lake", "lake", "--text-column", "text")
    result = told("import", "--format", "sprout", *words)
    result.refused("--text-column: format sprout knows where its text is")
    assert not (published / "lake").exists()
