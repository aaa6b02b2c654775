"""How a container is confined, and how much of it an engine can hold it to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..quantities import cpu_millis, memory_bytes
from ..spec.container import ContainerConfiguration, VolumeMount

ANY_USER = "54321:0"  # as OpenShift does: a user id that no image knows, in the group root


@dataclass(frozen=True, slots=True, kw_only=True)
class Abilities:
    """What an engine can hold a container to (its control groups may lack some), how many CPUs it has, and whether
    containers can have its GPUs."""

    memory_limit: bool
    cpu_limit: bool
    cpus: int
    gpus: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What a container may not do, and what it may have.

    `user` is ``uid:gid``, None for the image's. `memory_bytes` and `cpu_millis` (thousandths of a CPU) are limits, None
    for none; `gpus` counts GPUs, -1 for all. `volumes` are folders of the host that it sees; `tmpfs` are its folders in
    memory. `left_out` says what was wanted and the engine cannot do.
    """

    user: str | None = None
    read_only_root: bool = True
    drop_capabilities: tuple[str, ...] = ("ALL",)
    memory_bytes: int | None = None
    cpu_millis: int | None = None
    gpus: int = 0
    volumes: tuple[VolumeMount, ...] = ()
    tmpfs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()

    def told(self) -> str:
        """In words, for a report."""
        words = [f"user {self.user}" if self.user else "the image's user", "no new privileges"]
        words += ["read-only root"] if self.read_only_root else []
        words += [f"without capabilities {', '.join(self.drop_capabilities)}"] if self.drop_capabilities else []
        words += [f"{self.memory_bytes / 2**20:g} MiB of memory"] if self.memory_bytes else []
        words += [f"{self.cpu_millis / 1000:g} CPU"] if self.cpu_millis else []
        words += ["all GPUs" if self.gpus < 0 else f"{self.gpus} GPU"] if self.gpus else []
        return ", ".join([*words, *(f"not: {each}" for each in self.left_out)])

    def options(self) -> dict[str, Any]:
        """The arguments of the SDK's ``create_host_config``."""
        gpus = {"driver": "nvidia", "count": self.gpus, "capabilities": [["gpu"]]}
        return {
            "read_only": self.read_only_root,
            "cap_drop": list(self.drop_capabilities),
            "security_opt": ["no-new-privileges"],
            "mem_limit": self.memory_bytes,
            "nano_cpus": None if self.cpu_millis is None else self.cpu_millis * 10**6,
            # unlike `binds`, they make no folder on the host
            "mounts": [
                {"Type": "bind", "Source": each.host_path, "Target": each.container_path, "ReadOnly": each.read_only}
                for each in self.volumes
            ],
            "tmpfs": dict.fromkeys(self.tmpfs, "mode=1777"),
            "device_requests": [gpus] if self.gpus else None,
        }


def for_trial(config: ContainerConfiguration, abilities: Abilities) -> Confinement:
    """As `config` deploys it, as far as the engine can: with a user id that nothing in the image belongs to, and with
    nothing of the host that could be changed."""
    memory = None if config.memory_limit is None else memory_bytes(config.memory_limit)
    cpu = None if config.cpu_limit is None else cpu_millis(config.cpu_limit)
    left_out: list[str] = []
    if memory is not None and not abilities.memory_limit:
        memory, left_out = None, [*left_out, "the memory limit, which this engine's control groups lack"]
    if cpu is not None and not abilities.cpu_limit:
        cpu, left_out = None, [*left_out, "the CPU limit, which this engine's control groups lack"]
    if cpu is not None and cpu > abilities.cpus * 1000:
        cpu, left_out = None, [*left_out, f"the CPU limit, which is above the {abilities.cpus} CPUs of this engine"]
    fixed = tuple(volume for volume in config.volumes if _can_be_read(volume))
    return Confinement(
        user=ANY_USER if config.run_as_non_root else None,
        read_only_root=config.read_only_root_filesystem,
        drop_capabilities=config.drop_capabilities,
        memory_bytes=memory,
        cpu_millis=cpu,
        gpus=(config.gpu_count or -1) if config.gpu_required else 0,
        volumes=fixed,
        tmpfs=tuple(volume.container_path for volume in config.volumes if volume not in fixed),
        left_out=tuple(left_out),
    )


def _can_be_read(volume: VolumeMount) -> bool:
    # a trial writes nothing on the host
    return volume.read_only and Path(volume.host_path).is_absolute() and Path(volume.host_path).exists()
