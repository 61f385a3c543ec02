"""Parts of a training step: recipe, optimizers, schedules, metrics, ranks, signals."""
