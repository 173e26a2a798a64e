"""How many examples a property is tried on; the number itself is the profile's, see conftest.py."""

from hypothesis import settings

few = settings(max_examples=settings().max_examples // 5)
"""Decorates a property of which one example costs a second."""
