"""What a user could have picked instead: how each is made and run, for `mobile-runtime bench`.

`peers.toml` lists them with their environments. The scripts beside it are run by those
environments' own interpreters, by their path, and import nothing of ours:

- ``convert_X.py REQUEST`` reads a JSON request (`runtime.bench.conversions`) and writes files;
- ``X_backend.py`` opens a model for `runtime.bench.worker`.
"""
