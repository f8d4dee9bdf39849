"""Online: the same model behind an endpoint. Nothing is served yet; jobs come first."""
