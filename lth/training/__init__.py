"""Parts of a training step, for every LightningModule: recipe, optimizers, schedules, ranks, signals."""
