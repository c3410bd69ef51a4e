"""Figures of a calibration fitted to measured times, and how well they are known."""
