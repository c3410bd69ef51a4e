"""What maintains the data and the docs: run each as `python -m tools.NAME` from the project's folder."""
