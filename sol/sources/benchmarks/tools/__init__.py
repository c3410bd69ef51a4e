"""One file for each benchmark tool whose output is read."""
