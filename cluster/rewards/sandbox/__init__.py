"""A place where untrusted programs run: nothing they do reaches the machine or the verdict."""
