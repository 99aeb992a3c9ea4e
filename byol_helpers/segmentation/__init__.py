"""Mask R-CNN: the dataset, the engine and the metrics of its training."""
