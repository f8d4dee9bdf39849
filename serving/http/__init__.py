"""HTTP: the proxy in front, and FastAPI routes that translate to and from `serving.service`."""
