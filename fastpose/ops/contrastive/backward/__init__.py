"""From the gradient of the loss to that of the rows."""
