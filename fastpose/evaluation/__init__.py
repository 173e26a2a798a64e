"""Scores of trained models, and their accuracy over noise."""
