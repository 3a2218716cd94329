"""States of a stack's parts without the encoder that all of them share, and with it again."""

from collections.abc import Mapping
from typing import Any

from cluster.routers.router import RouterState

# Names in the state of a part: `pack_encoder` writes the first two.
ENCODER, ENCODER_NAME, SHARES = "encoder", "encoder_name", "shares_encoder"


def without_encoder(state: RouterState) -> RouterState:
    """A part's state without the encoder, which the stack keeps once."""

    def own(entries: Mapping[str, Any]) -> dict[str, Any]:
        shared = (ENCODER, ENCODER_NAME)
        return {
            name: entry
            for name, entry in entries.items()
            if name not in shared and not name.startswith(f"{ENCODER}.")
        }

    return RouterState(own(state.config) | {SHARES: True}, own(state.tensors), own(state.files))


def with_encoder_of(stack: RouterState, *, part: RouterState) -> RouterState:
    """The inverse of `without_encoder`.

    Raises:
        InputError: the stack has no encoder that the part could share.
    """
    named = {**part.config, ENCODER_NAME: stack.value(ENCODER_NAME, str)}
    bare = RouterState(named, part.tensors, part.files)
    return bare.holding(stack.part(ENCODER), name=ENCODER)
