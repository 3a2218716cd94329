"""A router and its policies behind an OpenAI-compatible endpoint, on Ray Serve."""
