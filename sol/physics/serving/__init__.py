"""Servers over time: what a scheduler puts into each step, and how long each step takes."""
