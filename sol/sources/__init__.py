"""Where facts come from: the shipped database, users' files, and model configs. No formula lives here."""
