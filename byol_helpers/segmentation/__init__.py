"""Mask R-CNN: the dataset, the engine and the signals of its training."""
