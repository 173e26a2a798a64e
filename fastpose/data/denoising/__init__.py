"""Keypoints without their noise."""
