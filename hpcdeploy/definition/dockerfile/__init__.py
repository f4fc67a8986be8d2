"""Translate a Dockerfile, parsed by BuildKit's rules, into a definition, or reject it with the line and the reason."""
