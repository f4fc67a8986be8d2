"""From an image's settings and the project's files to a definition's text: one module a kind of source."""
