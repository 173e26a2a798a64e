"""Batches of sampled, noised, cropped and flipped keypoints, on the CPU and on the GPU."""
