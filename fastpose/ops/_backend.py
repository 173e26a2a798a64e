"""Which implementation of an operator runs: native C++, a Triton kernel, or the plain torch reference."""

BACKENDS = ("auto", "triton", "native", "reference")


def resolve_backend(op: str, backend: str, native_obstacle: str | None) -> str:
    """Return ``"native"`` or ``"reference"``.

    Args:
        op: public name of the operator, for errors.
        backend: one of `BACKENDS`; ``"auto"`` is native code wherever it can serve, else the reference.
        native_obstacle: why native code cannot serve this call (it completes "backend='native' …"), or None.

    Raises:
        ValueError: an unknown backend, or one that cannot serve the call.
    """
    if backend not in BACKENDS:
        raise ValueError(f"{op}: backend must be one of {', '.join(BACKENDS)}, got {backend!r}")
    if backend == "triton":
        raise ValueError(
            f"{op}: there is no Triton kernel for it yet; choose 'auto', 'native' or 'reference'"
        )
    if backend == "native" and native_obstacle is not None:
        raise ValueError(f"{op}: backend='native' {native_obstacle}; choose 'auto' or 'reference'")
    if backend == "reference" or native_obstacle is not None:
        return "reference"
    return "native"
