"""The Apptainer client, through spython."""
