"""What must be held: caches, weights, activations, and what engines reserve."""
