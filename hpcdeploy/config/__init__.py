"""Settings files, read into plain values."""
