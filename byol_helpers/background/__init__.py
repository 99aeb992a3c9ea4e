"""Background removal (thesis 3.3.3): masks from detections, cut-outs, and how well they match
the ground truth."""
