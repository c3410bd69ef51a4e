"""What things are: frozen records of devices, models, formats and steps. No formula in seconds here."""
