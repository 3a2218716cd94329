"""Whether the queries of a file are like those a router was trained on."""
