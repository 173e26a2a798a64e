"""The gradient of the rendered maps with respect to the keypoints, on the GPU."""
