"""Routing a file, without Ray: its shards, their scores and choices, and what is published."""
