"""Warm start: a method that trains by gradient goes on from an earlier version of itself.

It takes over the settings, which then need not be chosen, the encoder as it was fitted, without
which the weights of a head mean nothing, and the weights. What fits in one go, such as tables and
linear methods, gains nothing by it and is fitted anew; so is an encoder that is tuned, whose
weights are a whole model's.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cluster.routers.router import Method, RouterState
from cluster.routers.space import TRY, is_choice


@dataclass(frozen=True)
class Start:
    """An earlier version of a method.

    Attributes:
        version: of its checkpoint.
        candidates: of the router.
        settings: the ones chosen, as JSON values.
        state: of the router.
    """

    version: str
    candidates: tuple[str, ...]
    settings: Mapping[str, Any]
    state: RouterState


def why_cold(
    start: Start, *, method: type[Method], fixed: Mapping[str, Any], candidates: tuple[str, ...]
) -> str:
    """Why a method cannot go on from a version, in words; empty where it can.

    Args:
        start: the version.
        method: the method, as it is installed now.
        fixed: settings that are given, or the values to choose among.
        candidates: that it is to be trained for.
    """
    from cluster.routers.network import NetworkMethod

    if not issubclass(method, NetworkMethod):
        return "it is fitted in one go"
    if start.settings.get("tune"):
        return "its encoder is tuned"
    if start.candidates != candidates:
        return "the candidates are others"
    other = [name for name, value in fixed.items() if not _allows(value, start.settings.get(name))]
    if other:
        return f"{', '.join(other)} is given and was another"
    return "" if set(start.settings) == set(method.model_fields) else "its settings are others now"


def _allows(given: Any, was: Any) -> bool:
    return was in given[TRY] if is_choice(given) else bool(was == given)
