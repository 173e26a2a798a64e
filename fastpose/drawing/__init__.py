"""Pictures of clips: skeletons over time, clean and noisy, as images, animations and pages."""
