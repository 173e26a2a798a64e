"""Errors as sentences for the user."""


def error_sentence(error: Exception) -> str:
    """Return what an error says; of one of the system, the file and the reason."""
    name, reason = getattr(error, "filename", None), getattr(error, "strerror", None)
    return f"{name}: {reason}" if name and reason else str(error)
