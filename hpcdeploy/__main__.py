"""Run the command line as ``python -m hpcdeploy``, for an environment whose programs are not on the PATH."""

from hpcdeploy.cli.main import main

if __name__ == "__main__":
    main()
