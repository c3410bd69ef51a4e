"""How answers are shown: the command line and the charts."""
