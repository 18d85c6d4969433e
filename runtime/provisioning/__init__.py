"""Programs, packages and Python environments from outside, each fetched once into one folder.

Nothing here needs root, and nothing of the host is changed. Who asks: the emulator, the benchmark's
peers, the demo's toolchain.
"""
