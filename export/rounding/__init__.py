"""Which integers a weight becomes: the grid that it is stored on, and how it gets there."""
