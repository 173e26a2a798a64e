"""The only importer of the compiled extension."""

try:
    from fastpose import _C as native
except ImportError as error:
    raise ImportError(
        "fastpose's compiled extension fastpose._C could not be loaded; build it with "
        f"`pip install -e .` in the project's folder (the loader said: {error})"
    ) from error

__all__ = ["native"]
