"""Training: optimizer, step, checkpoints, progress, interruption, loop."""
