"""Quantization-aware fine-tuning: a model learns with the rounding that its artifact will have."""
