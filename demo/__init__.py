"""The demo: packaged digits, simulated field sites, and the whole ring in one command."""
