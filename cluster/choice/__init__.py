"""Choosing what to label: the queries that are worth running every candidate on."""
