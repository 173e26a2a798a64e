"""The gradient of the stem with respect to the keypoints, on the GPU."""
