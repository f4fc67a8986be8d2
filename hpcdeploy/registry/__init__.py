"""OCI registries, through oras-py: the one place that imports it."""
