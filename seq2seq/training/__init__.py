"""The training loop and its parts: loss, optimiser, schedule, checkpoints in time, reports."""
