"""A night of retraining: what is new, where it stands, and what it came to."""
