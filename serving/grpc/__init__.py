"""gRPC: the methods of `inference.GRPCInferenceService`, and how Serve finds them."""
