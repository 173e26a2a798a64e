"""Numbers that bound what operators and data take, for code that loads no torch."""

MAX_COORDINATE = 1e6  # pixels; beyond it a coordinate is damage, and squares of what is within stay finite
