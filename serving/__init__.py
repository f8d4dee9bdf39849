"""Online: the same model behind an endpoint, as a Ray Serve application.

Read `app` → `deployment` → `http` or `grpc` → `service` → `models`.
"""
