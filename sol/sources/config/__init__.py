"""A published config.json read as a model."""
