"""What an archive or a folder has in it, as its format tells it: nothing is believed of a name yet."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto


class Kind(Enum):
    """What can be in a package, and what cannot."""

    File = auto()
    Folder = auto()
    Other = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry. `content` has to be read before the next entry is asked for; it raises Refused."""

    name: str
    kind: Kind
    what: str = ""
    """What an entry is that is neither file nor folder, such as ``a symbolic link``."""
    mode: int = 0
    content: Iterable[bytes] = ()
