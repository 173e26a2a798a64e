"""From packed clips to trained weights, epoch by epoch."""
