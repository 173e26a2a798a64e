"""Clips as a few flat arrays: the packed format, joint layouts, and splits."""
