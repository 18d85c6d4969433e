"""Sizes that whoever follows a recipe has to agree on, whatever the format."""

# A float weight of this number of elements or more is a recipe's business; biases, LayerNorm's
# vectors and a classifier of a few labels are below it.
LARGE_WEIGHT_ELEMENTS = 4_096
# ONNX: below this many rows or columns (a classifier of a few labels) the extra operators cost more
# than integers save, unless the weight is large all the same.
ONNX_SMALLEST_AXIS = 16
# Training texts that ranges and outliers are measured on and weights rounded with; more moved no
# range on the sample.
CALIBRATION_TEXTS = 64
