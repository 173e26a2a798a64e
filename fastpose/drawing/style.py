"""What colours and lines mean: sides by hue, persons by the look of their limbs and joints."""

from functools import lru_cache
from pathlib import Path

from PIL import ImageFont

from fastpose.data.pack.layouts import Layout

Colour = tuple[int, int, int]

NEITHER, LEFT, RIGHT = range(3)
# Black, blue and vermilion of Okabe and Ito, "Color Universal Design" (2008): different in hue to every kind of eye,
# and in lightness.
SIDE_COLOURS: tuple[Colour, ...] = ((0, 0, 0), (0, 114, 178), (213, 94, 0))
PAPER: Colour = (255, 255, 255)
INK: Colour = (64, 64, 64)
FAINT: Colour = (200, 200, 200)
SAMPLED: Colour = (0, 158, 115)  # green of the same palette: a frame that a model is given

LIMB_STYLES = ("solid", "hollow", "dashed")
JOINT_STYLES = ("disc", "square", "diamond")
PALEST = 0.35  # share of its colour that a joint of score 0 would keep


def joint_sides(layout: Layout) -> list[int]:
    """Return LEFT, RIGHT or NEITHER for each joint, as the layout's pairs say."""
    sides = [NEITHER] * layout.num_joints
    for left, right in layout.pairs:
        sides[left], sides[right] = LEFT, RIGHT
    return sides


def limb_sides(layout: Layout) -> list[int]:
    """Return the side of each limb: that of its ends, NEITHER where it joins left and right."""
    sides = joint_sides(layout)
    ends = ({sides[a], sides[b]} - {NEITHER} for a, b in layout.limbs)
    return [side.pop() if len(side) == 1 else NEITHER for side in ends]


def person_style(person: int) -> tuple[str, str]:
    """Return how limbs and joints of a person look: both differ between the first three, one of them among nine."""
    limbs, joints = len(LIMB_STYLES), len(JOINT_STYLES)
    return LIMB_STYLES[person % limbs], JOINT_STYLES[(person + person // limbs) % joints]


def paler(colour: Colour, score: float) -> Colour:
    """Return ``colour``, the nearer to white the smaller a score from 0 to 1 is; higher scores are as 1."""
    share = PALEST + (1 - PALEST) * min(max(score, 0.0), 1.0)
    red, green, blue = (round(255 - share * (255 - part)) for part in colour)
    return red, green, blue


@lru_cache(maxsize=16)
def font(size: float) -> ImageFont.FreeTypeFont:
    """Return the font of texts, ``size`` pixels high; it has Latin, Greek and Cyrillic letters."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    return ImageFont.truetype(str(path), size)


def shortened(text: str, size: float, width: float) -> str:
    """Return ``text`` on one line, its middle left out where it would be wider than ``width`` pixels."""
    text = printable(text)
    if font(size).getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        tried = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
        if font(size).getlength(tried) <= width:
            return tried
    return "…"


def printable(text: str) -> str:
    """Return ``text`` with a space for each character that is a line break or has no shape."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
