"""The export stage: a run becomes a self-proving bundle, and a bundle a TensorRT plan."""
