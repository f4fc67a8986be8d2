"""Read locked environments into plain values."""
