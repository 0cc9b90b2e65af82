"""`python -m keeptune` is the command `keeptune`."""

from keeptune.cli.main import main

if __name__ == "__main__":
    main()
