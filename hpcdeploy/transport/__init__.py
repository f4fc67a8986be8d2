"""Transport commands and data to a login node."""
