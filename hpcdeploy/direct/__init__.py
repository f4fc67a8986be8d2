"""Build a SIF without Apptainer: flatten layers into one tar stream, pack it with mksquashfs, and write the SIF."""
