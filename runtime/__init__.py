"""Runs and judges bundles. Light on purpose: numpy, tokenizers and one inference runtime."""
