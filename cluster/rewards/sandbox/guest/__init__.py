"""What runs inside the sandbox, or watches beside it: the standard library alone."""
