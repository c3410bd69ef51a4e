"""The records of hardware_db."""
