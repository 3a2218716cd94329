"""Readers of score tables made elsewhere: each turns a path into one `ScoreTable`."""
