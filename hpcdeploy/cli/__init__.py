"""The command: reads words, calls one flow, prints its result."""
