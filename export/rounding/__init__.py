"""Which integers a weight becomes: the grid that it is stored on, and how it gets there."""

# Algorithms of a rule that search, before a target sees the weights, and leave them on their grid:
# there the largest magnitude of a channel or row leads to the same integers again.
SEARCHED = ("mse", "gptq")
