"""Images and labels: a folder in COCO layout, or the generated world."""
