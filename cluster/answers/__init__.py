"""Answering what was routed: who is asked what, in how many rounds, and the answers joined back."""
