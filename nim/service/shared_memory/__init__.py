"""System shared memory: clients register regions of POSIX shared memory objects, in which requests have tensors."""

from .cuda_regions import check_cuda_region, refuse_cuda_region
from .region import RegionStatus
from .region_changes import RegionChanges
from .region_registry import ALREADY_EXISTS, RegionRegistry, allowed_regions
from .region_runner import RegionRunner

__all__ = [
    "ALREADY_EXISTS",
    "RegionChanges",
    "RegionRegistry",
    "RegionRunner",
    "RegionStatus",
    "allowed_regions",
    "check_cuda_region",
    "refuse_cuda_region",
]
