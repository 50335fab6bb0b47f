"""Training: step, loop, batches, losses, metrics, evaluation, checkpoints."""
