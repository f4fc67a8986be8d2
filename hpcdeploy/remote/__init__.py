"""All access to login nodes: connections, scripts and their output, upload and download."""
