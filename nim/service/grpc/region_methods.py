"""The methods of ``inference.GRPCInferenceService`` for shared memory: registration of regions and their status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any

from ..codec.protobuf_messages import pb
from ..shared_memory import RegionChanges, RegionRegistry, check_cuda_region, refuse_cuda_region


class RegionMethods:
    """The methods for `regions` and their `changes`. Each has the request and the call's context, and raises
    RequestError."""

    def __init__(self, regions: RegionRegistry, changes: RegionChanges) -> None:
        self._regions, self._changes = regions, changes

    def by_name(self) -> dict[str, Callable[[Any, Any], Awaitable[Any]]]:
        """All methods by their names in the protocol."""
        return {
            "SystemSharedMemoryStatus": self.status,
            "SystemSharedMemoryRegister": self.register,
            "SystemSharedMemoryUnregister": self.unregister,
            "CudaSharedMemoryStatus": self.cuda_status,
            "CudaSharedMemoryRegister": self.register_cuda,
            "CudaSharedMemoryUnregister": self.unregister_cuda,
        }

    async def status(self, request: Any, _: Any) -> Any:
        """One registered region, or all."""
        response = pb.SystemSharedMemoryStatusResponse()
        for each in self._regions.status(request.name):
            response.regions[each.name].CopyFrom(pb.SystemSharedMemoryStatusResponse.RegionStatus(**asdict(each)))
        return response

    async def register(self, request: Any, _: Any) -> Any:
        """Register a range of a shared memory object of this host as a region."""
        await self._changes.register(request.name, request.key, request.offset, request.byte_size)
        return pb.SystemSharedMemoryRegisterResponse()

    async def unregister(self, request: Any, _: Any) -> Any:
        """Unregister one region, if it is registered, or all."""
        if request.name:
            await self._changes.unregister(request.name)
        else:
            await self._changes.unregister_all()
        return pb.SystemSharedMemoryUnregisterResponse()

    async def cuda_status(self, request: Any, _: Any) -> Any:
        """The registered regions of CUDA shared memory: none."""
        check_cuda_region(self._regions, request.name)
        return pb.CudaSharedMemoryStatusResponse()

    async def register_cuda(self, request: Any, _: Any) -> Any:
        """Rejected: the service does not use GPUs."""
        raise refuse_cuda_region(request.name)

    async def unregister_cuda(self, request: Any, _: Any) -> Any:
        """Unregister regions of CUDA shared memory, of which there are none."""
        return pb.CudaSharedMemoryUnregisterResponse()
