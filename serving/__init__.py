"""bundle in, predictions and events out: the BentoML service."""
