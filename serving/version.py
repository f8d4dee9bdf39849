"""Which labelmill this is."""

from importlib.metadata import version

VERSION = version("labelmill")
