"""Where facts come from: the shipped database, users' files, and model configs. There are no formulas here."""
