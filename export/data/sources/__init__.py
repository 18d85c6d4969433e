"""Where rows come from: one module each, giving a `RawSource`."""
