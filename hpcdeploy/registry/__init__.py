"""OCI registries, through oras-py."""
