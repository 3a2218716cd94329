"""A sample of the queries that were routed comes back into the lake, for the next training."""
