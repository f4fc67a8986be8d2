"""All access to login nodes: connections, scripts, their results, upload and download."""
