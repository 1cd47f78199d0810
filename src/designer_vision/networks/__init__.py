"""Architectures by name, and how networks are made of them."""
