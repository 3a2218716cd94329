"""A small world for nights: two candidates that answer by a script, and files of queries for them.

Each candidate is right on its own kind of query, nearly always, and seldom on the other's. So a
router that tells the kinds apart beats either alone.
"""

import json
import os
import random
import time
from pathlib import Path

PLUGINS = Path(__file__).parent / "plugins"
RIGHT, WRONG = "yes", "no"
# Of ten endings of a query, those on which a candidate is right: on its own kind, on the other's.
OWN, OTHER = 9, 2
KINDS = {"sum": "add the numbers", "word": "spell the letters"}


def write_candidates(folder: Path, *, extra: str = "") -> Path:
    """The candidate file; `extra` names a third one, that is right on all."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [*KINDS, *filter(None, [extra])]
    entries = []
    for name in names:
        script = folder / f"{name}.json"
        script.write_text(json.dumps(_script(name)))
        price = {"input": 1.0, "output": 1.0 if name in KINDS else 3.0}
        entry = {"name": name, "engine": "scripted", "model": str(script), "price": price}
        # The most an answer may cost is set aside under a cap: short, so that few asks do.
        entries.append(entry | {"sampling": {"max_tokens": 8}})
    file = folder / f"candidates{extra}.yaml"
    file.write_text(json.dumps(entries))
    return file


def _script(name: str) -> dict[str, str]:
    """Part of a prompt → answer, the first that fits counts."""
    right = {kind: 10 if name not in KINDS else OWN if kind == name else OTHER for kind in KINDS}
    return {
        f"{words} ending {digit}": RIGHT if digit < right[kind] else WRONG
        for kind, words in KINDS.items()
        for digit in range(10)
    }


def write_queries(
    folder: Path, *, name: str, n: int, seed: int, old: bool = True, reference: str = RIGHT
) -> Path:
    """A JSON Lines file of `n` queries of both kinds; `old` ones were written an hour ago.

    `reference`: `WRONG` turns all labels round.
    """
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.jsonl"
    rows = []
    for number in range(n):
        kind = ("sum", "word")[number % 2]
        words = " ".join(f"{kind}{draw.randrange(60)}" for _ in range(4))
        text = f"{KINDS[kind]} ending {draw.randrange(10)} {words} {name}"
        rows.append({"text": text, "task": kind, "reference": reference})
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if old:
        hour_ago = time.time() - 3600
        os.utime(file, (hour_ago, hour_ago))
    return file
