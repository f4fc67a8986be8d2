"""Build a SIF without Apptainer: flatten layers into one tar stream, pack it with sqfstar, and write the SIF."""
