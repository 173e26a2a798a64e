"""The machine: files, memory, threads, devices and precision. Knows nothing of poses."""
