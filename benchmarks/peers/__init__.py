"""Other servers around the same decoding and the same model, for benchmarks/serving_peers.py."""
