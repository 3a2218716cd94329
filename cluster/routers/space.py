"""A declared space of settings: values to choose among, instead of a method's own.

    knn: {k: {try: [10, 20, 40]}, shrinkage: {try: [0.5, 2]}}

A setting that holds `try` alone is a choice; anything else is the setting itself, lists included.
Of several choices every combination is tried, in the order of the file: the last one changes
fastest, and the first combination counts as the simplest.
"""

import itertools
import math
from collections.abc import Mapping
from typing import Any

from cluster.errors import InputError

TRY = "try"
# A fit a fold each: at a second a fit and ten folds half an hour.
MOST = 200


def combinations(given: Mapping[str, Any], *, method: str) -> list[dict[str, Any]]:
    """Every combination of the values declared, beside what is fixed; one where nothing is.

    Args:
        given: setting → value, or `{try: [value, ...]}`.
        method: whose settings they are, for the words.

    Raises:
        InputError: nothing or no list to try, or too many combinations.
    """
    tried = {
        name: _values(value, where=f"method '{method}': {name}")
        for name, value in given.items()
        if is_choice(value)
    }
    require_few(math.prod(map(len, tried.values())), method=method)
    return [
        {**given, **dict(zip(tried, chosen, strict=True))}
        for chosen in itertools.product(*tried.values())
    ]


def is_choice(value: Any) -> bool:
    """Whether a setting's value is `{try: ...}`."""
    return isinstance(value, Mapping) and set(value) == {TRY}


def require_few(count: int, *, method: str) -> None:
    """Refuse more combinations than anybody waits for.

    Raises:
        InputError: there are more than `MOST`.
    """
    if count > MOST:
        raise InputError(
            f"method '{method}': {count:,} combinations of settings to try, at most {MOST}: "
            f"declare fewer values behind '{TRY}', or fix a setting"
        )


def _values(choice: Mapping[str, Any], *, where: str) -> list[Any]:
    values = choice[TRY]
    if not isinstance(values, list) or not values:
        raise InputError(
            f"{where}: found {values!r} behind '{TRY}', expected a list of values, such as "
            f"{{{TRY}: [10, 20, 40]}}, the simplest first"
        )
    return values
