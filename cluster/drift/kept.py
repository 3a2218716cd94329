"""A profile in its router's checkpoint: `profile.json`, `profile.safetensors` and its vocabulary.

They are listed in `router.json` with their hashes like every file there, so they are part of the
version, and one that was changed is found out. A checkpoint without them loads as before.
"""

import json

from cluster.drift.profile import Profile
from cluster.encoders.encoder import FittedEncoder
from cluster.errors import InputError
from cluster.routers.checkpoint import BESIDE, Checkpoint, contiguous, read_tensors, read_text
from cluster.routers.transfer import TransferredRouter
from cluster.state import State

CONFIG, TENSORS = f"{BESIDE}json", f"{BESIDE}safetensors"


def profile_files(profile: Profile | None) -> dict[str, bytes]:
    """Name → content of the profile's files; none where there is no profile."""
    from safetensors.numpy import save

    if profile is None:
        return {}
    state = profile.state()
    config = json.dumps(state.config, indent=2, sort_keys=True, allow_nan=False) + "\n"
    texts = {f"{BESIDE}{name}": text.encode() for name, text in state.files.items()}
    return {CONFIG: config.encode(), TENSORS: save(contiguous(state.tensors)), **texts}


def profile_of(checkpoint: Checkpoint) -> Profile | None:
    """The profile in a checkpoint; None where it has none.

    Raises:
        InputError: a file of it is damaged.
    """
    files = checkpoint.beside
    if CONFIG not in files:
        return None
    config = _config(files[CONFIG])
    texts = {
        name.removeprefix(BESIDE): read_text(content, where=name)
        for name, content in files.items()
        if name.startswith(BESIDE) and name not in (CONFIG, TENSORS)
    }
    tensors = read_tensors(files.get(TENSORS, b""), where=TENSORS)
    router = checkpoint.router
    learned = router.learned if isinstance(router, TransferredRouter) else router
    encoder = getattr(learned, "encoder", None)
    return Profile.from_state(
        State(config, tensors, texts),
        routers=encoder if isinstance(encoder, FittedEncoder) else None,
    )


def _config(content: bytes) -> dict[str, object]:
    try:
        config = json.loads(content)
    except ValueError as error:
        raise InputError(f"{CONFIG}: damaged checkpoint: not JSON ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"{CONFIG}: damaged checkpoint: expected an object")
    return config
