"""The gRPC side: the methods of `inference.GRPCInferenceService`, and how Serve learns of them."""
