"""How a checkpoint says its weights are stored."""
