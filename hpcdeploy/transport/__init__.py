"""How commands and bytes get to a login node."""
