"""Read settings files into plain values."""
