"""A Dockerfile as a definition: read as BuildKit reads it, translated whole or refused by line and reason."""
