"""Servers: requests of many users through one engine."""
