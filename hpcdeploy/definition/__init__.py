"""Read, validate and write Apptainer definition files."""
