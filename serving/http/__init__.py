"""The HTTP side: FastAPI routes that translate to and from `serving.service`."""
