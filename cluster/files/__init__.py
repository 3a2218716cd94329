"""Query files: found, read in bounded memory, their broken rows set aside, and written whole."""
