"""From detections and curves to numbers with intervals, and on to verdicts. Reads files, never a
model."""
