"""Published pickles are never opened: to load one is to run the code that is in it."""

import re
from pathlib import Path

from cluster.errors import InputError

# `name.pkl`, also compressed: `name.pkl.gz`.
NAMED = re.compile(r"\.(?:pkl|pickle)(?:\.[^.]*)?$", re.IGNORECASE)


def refuse_pickles(path: str, *, convert: str, ending: str) -> None:
    """Make sure that a path is not a pickle, nor a folder that holds pickles and no other data.

    Args:
        path: a file or a folder; anything else passes.
        convert: Python that turns the pickle `{source}` into another file, `{target}`.
        ending: of that other file.

    Raises:
        InputError: it is; the text says why it is not read and how to convert it.
    """
    found = Path(path).expanduser()
    files = sorted(found.iterdir()) if found.is_dir() else [found]
    pickles = [file for file in files if is_pickle(file)]
    if not pickles or (found.is_dir() and any(_is_data(file) for file in files)):
        return
    source, target = str(pickles[0]), str(_bare(pickles[0])) + ending
    line = convert.format(source=repr(source), target=repr(target))
    raise InputError(
        f"{pickles[0]}: is a pickle, and to load one is to run whatever code is in it, so it is "
        "not opened. If you trust it, convert it yourself, in an environment where nothing can be "
        f'harmed, and import the result: python -c "{line}"'
    )


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle by its name, compressed or not."""
    return bool(NAMED.search(file.name))


def _is_data(file: Path) -> bool:
    return file.is_file() and any(
        ending.lower() in (".parquet", ".csv", ".jsonl", ".ndjson", ".json")
        for ending in file.suffixes
    )


def _bare(pickle: Path) -> Path:
    """The pickle's path without the ending that makes it one, and what follows it."""
    return pickle.with_name(NAMED.sub("", pickle.name))
