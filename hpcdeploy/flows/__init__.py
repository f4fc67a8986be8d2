"""Implement each verb in one module; this is the only package that combines the back ends."""
