"""What all scripts for login nodes have in common: the shell that reads them."""

SHELL = ("bash", "-l", "-s")
"""Reads a script from its standard input. A login shell: sites set up PATH and modules in the profile (bash(1), INVOCATION)."""
