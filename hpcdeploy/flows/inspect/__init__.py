"""Inspect: what an image will hold, before it is built, and what a built or published one holds. Nothing is written."""
