"""The colours of a map of accuracy: darker for more, and text on each that can be read."""

from functools import lru_cache

LEAST_CONTRAST = 4.5  # that the Web Content Accessibility Guidelines ask of text (level AA)


@lru_cache(maxsize=256)
def shade(percent: float) -> tuple[str, str]:
    """Return the colours of a cell and of its text, such as "#08306b" and "#ffffff", for 0 to 100 %."""
    from matplotlib import colormaps

    red, green, blue, _ = colormaps["Blues"](min(max(percent, 0.0), 100.0) / 100, bytes=True)
    back = f"#{red:02x}{green:02x}{blue:02x}"
    return back, max("#000000", "#ffffff", key=lambda text: contrast(back, text))


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours, from 1 to 21, as the Web Content Accessibility Guidelines 2 define it."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
