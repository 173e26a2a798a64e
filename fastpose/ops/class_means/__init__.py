"""Means of the rows of each class, for both views of a batch."""
