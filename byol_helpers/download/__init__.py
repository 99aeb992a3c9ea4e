"""COCO at scale: the part of it that a profile needs, over a bad line."""
