"""Transports, against real programs and real sshd."""
