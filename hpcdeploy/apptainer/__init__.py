"""Use the Apptainer client through spython."""
