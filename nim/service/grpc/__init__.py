"""The service over gRPC: ``inference.GRPCInferenceService`` and the standard health check."""
