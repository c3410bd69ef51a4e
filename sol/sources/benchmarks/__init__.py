"""Readers of benchmark files: one file per tool maps the tool's keys to the fields of `Measurement`, without guesses."""
