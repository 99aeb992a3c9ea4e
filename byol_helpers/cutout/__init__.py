"""Cutting objects out of one's own images and videos, on the command line."""
