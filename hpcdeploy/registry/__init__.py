"""Access OCI registries; this is the only package that imports oras-py."""
