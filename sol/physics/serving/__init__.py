"""Servers: requests of many users through one engine, in a steady state and step by step."""
