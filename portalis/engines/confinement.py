"""Restrictions of a container: user, file system, capabilities, memory, CPU and GPUs, as far as an engine supports
them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..quantities import cpu_millis, memory_bytes
from ..spec.container import ContainerConfiguration, VolumeMount

ANY_USER = "54321:0"  # as on OpenShift: a user id that does not exist in the image, in the root group


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCapabilities:
    """Capabilities of a container engine: the resource limits that its cgroups support, its number of CPUs, and whether
    it can assign GPUs."""

    memory_limit: bool
    cpu_limit: bool
    cpus: int
    gpus: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """Restrictions of a container, and the resources that it can use.

    `user` is ``uid:gid``, None for the image's user. `memory_bytes` and `cpu_millis` (thousandths of a CPU) are limits,
    None for unlimited. `gpus` is a number of GPUs, -1 for all. `volumes` are directories of the host that are mounted
    into the container; `tmpfs` are directories of the container that are in memory. `unenforced` lists the requested
    limits that the engine cannot enforce, each with the reason.
    """

    user: str | None = None
    read_only_root: bool = True
    drop_capabilities: tuple[str, ...] = ("ALL",)
    memory_bytes: int | None = None
    cpu_millis: int | None = None
    gpus: int = 0
    volumes: tuple[VolumeMount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    unenforced: tuple[str, ...] = ()

    def describe(self) -> str:
        """The restrictions as text, for a report."""
        parts = [f"user {self.user}" if self.user else "the image's user", "no new privileges"]
        parts += ["read-only root"] if self.read_only_root else []
        parts += [f"without capabilities {', '.join(self.drop_capabilities)}"] if self.drop_capabilities else []
        parts += [f"{self.memory_bytes / 2**20:g} MiB of memory"] if self.memory_bytes else []
        parts += [f"{self.cpu_millis / 1000:g} CPU"] if self.cpu_millis else []
        parts += ["all GPUs" if self.gpus < 0 else f"{self.gpus} GPU"] if self.gpus else []
        return ", ".join([*parts, *(f"not enforced: {each}" for each in self.unenforced)])

    def host_config(self) -> dict[str, Any]:
        """The keyword arguments of the SDK's ``create_host_config``."""
        gpus = {"driver": "nvidia", "count": self.gpus, "capabilities": [["gpu"]]}
        return {
            "read_only": self.read_only_root,
            "cap_drop": list(self.drop_capabilities),
            "security_opt": ["no-new-privileges"],
            "mem_limit": self.memory_bytes,
            "nano_cpus": None if self.cpu_millis is None else self.cpu_millis * 10**6,
            # unlike `binds`, mounts do not create missing directories on the host
            "mounts": [
                {"Type": "bind", "Source": each.host_path, "Target": each.container_path, "ReadOnly": each.read_only}
                for each in self.volumes
            ],
            "tmpfs": dict.fromkeys(self.tmpfs, "mode=1777"),
            "device_requests": [gpus] if self.gpus else None,
        }


def smoke_test_confinement(config: ContainerConfiguration, capabilities: EngineCapabilities) -> Confinement:
    """The restrictions of a smoke test: those of the deployment in `config`, as far as the engine supports them.

    With run_as_non_root, the user id is one that does not exist in the image. A writable volume, and one that does not
    exist on this host, is replaced by an empty directory in memory.
    """
    memory = None if config.memory_limit is None else memory_bytes(config.memory_limit)
    cpu = None if config.cpu_limit is None else cpu_millis(config.cpu_limit)
    unenforced: list[str] = []
    if memory is not None and not capabilities.memory_limit:
        memory = None
        unenforced.append("the memory limit (not supported by the engine's cgroups)")
    if cpu is not None and not capabilities.cpu_limit:
        cpu = None
        unenforced.append("the CPU limit (not supported by the engine's cgroups)")
    if cpu is not None and cpu > capabilities.cpus * 1000:
        cpu = None
        unenforced.append(f"the CPU limit (it exceeds the {capabilities.cpus} CPUs of the engine)")
    mounted = tuple(volume for volume in config.volumes if _is_mountable(volume))
    return Confinement(
        user=ANY_USER if config.run_as_non_root else None,
        read_only_root=config.read_only_root_filesystem,
        drop_capabilities=config.drop_capabilities,
        memory_bytes=memory,
        cpu_millis=cpu,
        gpus=(config.gpu_count or -1) if config.gpu_required else 0,
        volumes=mounted,
        tmpfs=tuple(volume.container_path for volume in config.volumes if volume not in mounted),
        unenforced=tuple(unenforced),
    )


def _is_mountable(volume: VolumeMount) -> bool:
    # a smoke test writes nothing on the host
    return volume.read_only and Path(volume.host_path).is_absolute() and Path(volume.host_path).exists()
