"""Judges artifacts against the stored PyTorch reference, without torch."""
