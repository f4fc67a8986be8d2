"""Run containers on this machine: translate values into command lines, and start them."""
