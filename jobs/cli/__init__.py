"""The command line: arguments → one call → text."""
