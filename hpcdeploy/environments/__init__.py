"""Locked environments, read into plain values."""
