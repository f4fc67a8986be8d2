"""From a locked environment to a GPU job on any Slurm or HTCondor cluster."""

__version__ = "0.1.0"
