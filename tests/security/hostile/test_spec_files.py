"""Candidate files from strangers: nothing runs, nothing fills the memory, all is told in words."""

import itertools
from pathlib import Path

import pytest

from cluster.candidate import load_candidates
from cluster.errors import InputError
from cluster.spec_file import MAX_BYTES, read_spec_file

OWN = "engine: vllm\nmodel: m\n"


def aliases(*, levels: int) -> str:
    """Lists of ten times the list before: ten to the power of `levels` texts."""
    names = [f"l{n}" for n in range(levels)]
    lines = [f"{names[0]}: &{names[0]} [{', '.join(['x'] * 10)}]"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    return "\n".join(lines) + "\n"


def merges(*, levels: int) -> str:
    """Mappings that merge ten times the mapping before."""
    names = [f"m{n}" for n in range(levels)]
    lines = [f"{names[0]}: &{names[0]} {{k: v}}"]
    for before, name in itertools.pairwise(names):
        lines.append(f"{name}: &{name} {{<<: [{', '.join([f'*{before}'] * 10)}]}}")
    return "\n".join(lines) + "\n"


FILES = {
    "aliases as a name": ("c.yaml", aliases(levels=9) + f"name: *l8\n{OWN}"),
    "aliases of long texts": ("c.yaml", f"a: &a {'x' * 50_000}\nname: [{'*a, ' * 4_000}*a]\n{OWN}"),
    "merges": ("c.yaml", merges(levels=9) + f"name: x\n{OWN}"),
    "a list of itself": ("c.yaml", "&a [*a]\n"),
    "a mapping of itself": ("c.yaml", f"&a {{name: *a}}\n{OWN}"),
    "deep flow": ("c.yaml", "[" * 3_000),
    "too many brackets": ("c.yaml", "[" * 500_000),
    "deep blocks": ("c.yaml", "- " * 20_000 + "x"),
    "deep TOML": ("c.toml", "a = " + "[" * 20_000),
    "deep TOML keys": ("c.toml", "a." * 20_000 + "b = 1\n"),
    "a call": ("c.yaml", "!!python/object/apply:os.mkdir ['{owned}']\n"),
    "a module": ("c.yaml", "name: !!python/module:antigravity\n" + OWN),
    "a long number": ("c.yaml", f"name: x\n{OWN}samples: {'9' * 5_000}\n"),
    "a long TOML number": ("c.toml", f"samples = {'9' * 5_000}\n"),
    "no date": ("c.yaml", f"name: 2001-99-99\n{OWN}"),
    "an odd key": ("c.yaml", "? [a, b]\n: c\n"),
    "a large file": ("c.yaml", "# " + "x" * MAX_BYTES),
    "not text": ("c.yaml", "\udcff\udcfe"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_hostile_file_is_refused_in_a_short_sentence(tmp_path: Path, case: str) -> None:
    name, content = FILES[case]
    owned = tmp_path / "owned"
    file = tmp_path / name
    file.write_bytes(content.replace("{owned}", str(owned)).encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=name) as refused:
        load_candidates(str(file))
    assert len(str(refused.value)) < 1_000
    assert not owned.exists()


def test_aliases_that_spare_writing_are_still_read(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(
        "- &base {name: a, engine: vllm, model: m, sampling: &s {max_tokens: 7}}\n"
        "- {<<: *base, name: b, sampling: *s}\n"
    )
    both = read_spec_file(file)
    assert [(one["name"], one["sampling"]["max_tokens"]) for one in both] == [("a", 7), ("b", 7)]
