"""Smaller checkpoints from checkpoints: fewer pieces in the vocabulary, fewer layers."""
