"""What becomes of a test that needs what this machine lacks; every message says how to get the test to run."""

import pytest

NO_TRITON = "no Triton: on Linux, pip install triton"


def miss(message: str, *, required: bool) -> None:
    """Skip the running test, or fail it if what it misses is required."""
    (pytest.fail if required else pytest.skip)(message)
