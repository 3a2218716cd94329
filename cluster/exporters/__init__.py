"""Writers of what other projects read: their training data, their prediction files."""
