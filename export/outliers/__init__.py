"""Outlier channels of activations, moved into weights before a model is quantized.

Pretrained encoders have a few channels that are tens of times as large as the others. An activation
is quantized with one scale for all its channels, so that the others are left with few steps; a
weight has a scale per output channel and suffers less. A factor per channel can be moved from one
to the other without changing the function.
"""
