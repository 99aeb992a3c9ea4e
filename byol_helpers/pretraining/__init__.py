"""BYOL and the supervised stand-in: what gives the backbone its initial weights."""
