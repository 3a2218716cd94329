"""Published pickles are never opened: to load one is to run the code that is in it."""

import re
from pathlib import Path

from cluster.errors import InputError

# Format → Python that turns the pickle `{source}` into the file `{target}`, and its ending.
CONVERSIONS = {
    "routerbench": (
        "import pandas; pandas.read_pickle({source}).to_parquet({target})",
        ".parquet",
    ),
    "routereval": (
        "import json, pickle; tree = pickle.load(open({source}, 'rb')); "
        "tree.pop('embedding', None); "
        "json.dump(tree, open({target}, 'w'), default=lambda array: array.tolist())",
        ".json",
    ),
}
# `name.pkl`, also compressed: `name.pkl.gz`.
NAMED = re.compile(r"\.(?:pkl|pickle)(?:\.[^.]*)?$", re.IGNORECASE)


def refuse_pickles(path: str, *, form: str) -> None:
    """Make sure that a path is not a pickle, nor a folder that holds pickles and no other data.

    Args:
        path: a file or a folder; anything else passes.
        form: name of the importer, which may know how its pickles are converted.

    Raises:
        InputError: it is; the text says why it is not read and how to convert it.
    """
    found = Path(path).expanduser()
    files = sorted(found.iterdir()) if found.is_dir() else [found]
    pickles = [file for file in files if is_pickle(file)]
    if not pickles or (found.is_dir() and any(_is_data(file) for file in files)):
        return
    raise InputError(
        f"{pickles[0]}: is a pickle, and to load one is to run whatever code is in it, so it is "
        "not opened. If you trust it, convert it yourself, in an environment where nothing can be "
        f"harmed, and import the result{_how(pickles[0], form=form)}"
    )


def _how(pickle: Path, *, form: str) -> str:
    """The line that converts a pickle, where it is known."""
    if form not in CONVERSIONS:
        return ""
    python, ending = CONVERSIONS[form]
    target = str(pickle.with_name(NAMED.sub("", pickle.name))) + ending
    line = python.format(source=repr(str(pickle)), target=repr(target))
    return f': python -c "{line}"'


def is_pickle(file: Path) -> bool:
    """Whether a file is a pickle by its name, compressed or not."""
    return bool(NAMED.search(file.name))


def _is_data(file: Path) -> bool:
    return file.is_file() and any(
        ending.lower() in (".parquet", ".csv", ".jsonl", ".ndjson", ".json")
        for ending in file.suffixes
    )
