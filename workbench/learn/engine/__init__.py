"""What the methods share: the run they work on, adapters, losses, evaluation, checkpoints, reporting."""
