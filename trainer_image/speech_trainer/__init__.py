"""The trainer: engine, recipes, models, losses, audio and data. Started by the supervisor, one process a rank."""
