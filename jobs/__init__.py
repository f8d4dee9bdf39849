"""Offline: label every object of an input and write one prediction row for each."""
