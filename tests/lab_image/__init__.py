"""The lab's conda channel, its stand-in for pixi, and its base image."""
