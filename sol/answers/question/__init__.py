"""From what was typed to records and arrays."""
