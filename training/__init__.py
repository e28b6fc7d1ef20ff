"""The training stage: a dataset manifest becomes a run directory."""
