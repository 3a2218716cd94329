"""Addresses that would hold a user, a password or a key: they are printed, kept and logged."""

import re

from cluster.errors import InputError

# A password may hold a slash, and then no `@` stands before the first one: what follows the colon
# is no port either. The name of a bucket may be that of an access point, `arn:aws:s3:…`.
_NAMES_USER = re.compile(
    r"\s*[A-Za-z][A-Za-z0-9+.-]*://"
    r"(?:[^/?#]*@|(?!arn:)[^/?#:\[\]]*:(?![0-9]*(?:[/?#]|\s*$)))"
)
# What JSON Schema calls a pattern: texts that are no such address.
NAMES_NO_USER = f"^(?!{_NAMES_USER.pattern})"


def names_user(text: str) -> bool:
    """Whether a text is an address, `scheme://…`, with a user, a password or a key in it."""
    return _NAMES_USER.match(text) is not None


def refuse_user(address: str, *, what: str, instead: str) -> None:
    """Make sure that an address, with or without its scheme, holds no user, password or key.

    Args:
        address: never repeated.
        what: where it was given, for the user.
        instead: what to do, for the user.

    Raises:
        InputError: it does.
    """
    if names_user(address if "://" in address else f"http://{address}"):
        raise InputError(
            f"{what}: no user, password or key in an address, which is kept and shown; {instead}. "
            "What stood there should be replaced now"
        )
