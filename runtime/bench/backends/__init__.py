"""One module per runtime. A worker loads one of them by its path and nothing else of ours.

Each has `load_library() -> None`, which imports the runtime, and
`open_model(settings) -> Model`, as `runtime.bench.worker` describes it. All but `session_backend`
need only numpy and their runtime, so that a peer's own environment can run them, too: artifacts of
one format are timed through the same lines of code, whoever made them.
"""
