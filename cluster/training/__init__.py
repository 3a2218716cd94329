"""Training by gradient: the loop, its batches, and a network a method."""
