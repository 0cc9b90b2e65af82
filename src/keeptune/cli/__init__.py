"""The command line: one file per command. Heavy rooms are imported inside the commands."""
