"""Traces of requests: when each arrived, how long its prompt and output were, and what was measured."""
