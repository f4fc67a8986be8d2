"""Apptainer's definition language: reading it, what may be said in it, and writing it."""
