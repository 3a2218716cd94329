"""The Dockerfiles: linted, and every file, lock, program and variable in them is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from deployed import INFRA, ROOT, project_version, unknown_settings

DOCKERFILES = sorted((INFRA / "docker").glob("*.Dockerfile"))
VARIANTS = ("cpu", "cuda")


def instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, its words) of a Dockerfile, with continued lines joined."""
    text = re.sub(r"\\\n", " ", path.read_text())
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    pairs = [line.partition(" ") for line in lines if not line.startswith("#")]
    return [(word, " ".join(rest.split())) for word, _, rest in pairs]


def copied(path: Path) -> list[str]:
    """What a Dockerfile copies from the project, with every variant written out."""
    copies = [words for word, words in instructions(path) if word == "COPY"]
    sources = [source for words in copies if "--from" not in words for source in words.split()[:-1]]
    return [source.replace("${VARIANT}", variant) for source in sources for variant in VARIANTS]


def test_both_images_are_there() -> None:
    assert [path.name for path in DOCKERFILES] == ["control.Dockerfile", "ray.Dockerfile"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
class TestDockerfile:
    def test_it_is_clean_to_hadolint(self, path: Path) -> None:
        hadolint = Path(sys.executable).parent / "hadolint"
        done = subprocess.run([hadolint, path], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout

    def test_what_it_copies_exists_and_reaches_the_build(self, path: Path) -> None:
        ignore = path.with_name(f"{path.name}.dockerignore").read_text().splitlines()
        allowed = [line[1:] for line in ignore if line.startswith("!")]
        assert ignore[1] == "*"
        for source in copied(path):
            assert (ROOT / source).exists(), source
            assert any(Path(source).match(one) or source == one for one in allowed), source

    def test_variables_are_ones_that_something_reads(self, path: Path) -> None:
        words = " ".join(words for word, words in instructions(path) if word == "ENV")
        assert unknown_settings(re.findall(r"\b([A-Z_]+)=", words)) == []

    def test_it_ends_as_a_user_without_rights_and_its_programs_exist(self, path: Path) -> None:
        last = dict(instructions(path))
        assert last["USER"] == "10001:10001"
        assert last["ENTRYPOINT"] == '["with-secrets"]'
        program = last["CMD"].strip('[]"').partition('"')[0]
        assert (Path(sys.executable).parent / program).exists(), program

    def test_every_image_has_the_same_pinned_python(self, path: Path) -> None:
        arguments = dict(
            words.split("=") for word, words in instructions(path) if word == "ARG" and "=" in words
        )
        assert re.fullmatch(r"3\.11\.\d+-slim-bookworm", arguments["PYTHON"])
        bases = {words.split(" ")[0] for word, words in instructions(path) if word == "FROM"}
        assert bases <= {"python:${PYTHON}", "system"}
        assert arguments["PYTHON"] in DOCKERFILES[0].read_text()

    def test_tags_in_its_words_are_the_project_s_version(self, path: Path) -> None:
        tags = re.findall(r"--tag signalbox-[a-z-]+:([0-9.]+)", path.read_text())
        assert tags
        assert set(tags) == {project_version()}
