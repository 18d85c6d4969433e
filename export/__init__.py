"""Makes bundles: text and labels → checkpoint → ONNX and TFLite artifacts with a parity verdict."""

from export.quiet import be_quiet

# Here, because torch and transformers read their settings when they are imported.
be_quiet()
