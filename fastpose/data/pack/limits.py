"""How much the data of any one set may count: more is damage, and would only fill the memory."""

MOST_CLASSES = 20_000
MOST_JOINTS = 4096  # of a layout; whole-body ones have some hundreds
MOST_NUMBERS = 2**28  # of one clip
MOST_DETECTIONS = 1000  # persons of one frame
MOST_LETTERS = 4096  # of the name of a clip, class or split
