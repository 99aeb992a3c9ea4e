"""Cutting objects out of one's own pictures and videos, on the command line."""
