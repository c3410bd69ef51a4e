"""Frozen records of devices, models, formats and steps, without formulas in seconds."""
