"""Where routed rows go: a file or a folder, and never among anything else's."""

import os
from collections.abc import Iterable

from cluster.errors import InputError
from cluster.files.source import file_format
from cluster.jobs.claim import owner, refuse_foreign_files
from cluster.jobs.run import Run
from cluster.routing.spec import RouteSpec
from cluster.storage import Storage


def is_file(output: str) -> bool:
    """Whether an output address names a file, by its extension; otherwise it is a folder."""
    return "." in Storage.at(output).uri.rsplit("/", 1)[-1].lstrip(".")


def check_name(output: str) -> None:
    """Make sure an output that has an extension has a known one.

    Raises:
        InputError: it has not; the text lists those that are known.
    """
    if is_file(output):
        try:
            file_format(output)
        except InputError as error:
            raise InputError(f"--output {error}; a name without an extension is a folder") from None


def refuse_output_that_is_there(spec: RouteSpec, *, run: Run) -> None:
    """Never mix two runs' rows: what is at the output must be this very work's, or nothing.

    Raises:
        InputError: something else is there, or an input.
    """
    refuse_inputs(spec.output, inputs=(file.uri for file in spec.files))
    if not spec.overwrite and owner(spec.output, lake=run.storage) != run.work_id:
        refuse_what_is_there(spec.output)
    elif not is_file(spec.output):
        refuse_foreign_files(spec.output, lake=run.storage)


def refuse_inputs(output: str, *, inputs: Iterable[str]) -> None:
    """Make sure an output is no input, nor the folder of one: it would be replaced.

    Raises:
        InputError: it is.
    """
    place = _resolved(output)
    for uri in inputs:
        found = _resolved(uri)
        if found == place or found.startswith(f"{place}/") or place.startswith(f"{found}/"):
            raise InputError(
                f"{Storage.at(output).uri}: the input {uri} is there, and an output never replaces "
                "its input; name another --output"
            )


def _resolved(uri: str) -> str:
    place = Storage.at(uri)
    return place.uri if place.is_s3 else os.path.realpath(place.uri)


def refuse_what_is_there(output: str) -> None:
    """Make sure nothing is at an output.

    Raises:
        InputError: a file is there, or a folder with a file in it.
    """
    place = Storage.at(output)
    if place.list(place.uri):
        raise InputError(
            f"{place.uri}: is there already; name another --output, or replace it with --overwrite"
        )
