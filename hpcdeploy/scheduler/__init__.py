"""Schedulers: a job into text, a scheduler's answers into states. Nothing here runs anything."""
