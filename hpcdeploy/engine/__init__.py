"""The programs that run containers on this machine: values become command lines, and a command line is started."""
