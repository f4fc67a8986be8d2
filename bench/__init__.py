"""How fast hpcdeploy is, side by side with the bare tools: ``python -m bench``."""
