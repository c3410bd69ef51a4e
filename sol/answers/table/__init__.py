"""Many devices or formats side by side."""
