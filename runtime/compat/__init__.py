"""Runs every artifact of a bundle in old runtimes: right or a refusal, never garbage."""
