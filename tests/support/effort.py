"""How much a run of the tests tries."""

import os

from hypothesis import settings

FULL = os.environ.get("FASTPOSE_FULL") == "1"
"""Whether to try every configuration of every kernel and compiler, which takes hours, and not a spread of them."""

few = settings(max_examples=settings().max_examples // 5)
"""Decorates a property of which one example costs a second; the profile (conftest.py) says how many others have."""
