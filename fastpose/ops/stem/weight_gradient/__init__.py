"""The gradient of the stem with respect to its weight, on the GPU."""
