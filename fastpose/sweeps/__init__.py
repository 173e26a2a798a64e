"""Many runs from one file: a grid of settings, or a search, on this machine or a SLURM cluster."""
