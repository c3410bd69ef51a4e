"""What a step costs: arrays in, arrays out. No names are resolved and no file is read here."""
