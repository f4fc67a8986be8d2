"""Make a definition's text from an image's settings and the project's files. Each kind of source has its own module."""
