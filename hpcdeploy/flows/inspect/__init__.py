"""Inspect images: their content before a build, or that of a built or published image. Nothing is written."""
