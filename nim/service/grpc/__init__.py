"""The service over gRPC: ``inference.GRPCInferenceService`` and the standard health check."""

from .grpc_server import GrpcServer

__all__ = ["GrpcServer"]
