"""The builder without Apptainer."""
