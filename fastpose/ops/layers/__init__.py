"""Operators that layers of the networks are made of."""
