"""`python -m sol` is the command line."""

from sol.views.cli import run

run()
