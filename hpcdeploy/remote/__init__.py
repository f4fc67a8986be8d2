"""The one door to a login node: connections, scripts, their results, upload and download."""
