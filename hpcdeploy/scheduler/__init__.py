"""Schedulers: render a job as text, and parse scheduler output into states. No module here runs a program."""
