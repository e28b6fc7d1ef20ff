"""redshank: train, export, serve and watch image classifiers for fields they never saw."""

__version__ = "0.1.0"
