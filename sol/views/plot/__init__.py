"""Charts of answers, one file per chart. Each takes `ax=None` and returns the Axes; matplotlib is imported when one is drawn."""
