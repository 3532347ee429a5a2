"""What a start finds on the disk, so that it can be said.

Finding
├── TailCut        an append that a crash tore; it was never acknowledged
├── Damage         bytes that are not what was written
├── Missing        offsets that the log should have and has not
└── Note           anything else that was put right
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TailCut:
    """A torn append was cut off the end of a file: `length` bytes from `position` on."""

    path: Path
    position: int
    length: int

    def __str__(self) -> str:
        return f"{self.path}: cut {self.length} bytes of a torn append at byte {self.position}"


@dataclass(frozen=True, slots=True)
class Damage:
    """`length` bytes from `position` on are damaged; they held the offsets `first` to `last`.

    `last` is below `first` where no offset is missing for it, so that nobody knows what it held.
    """

    path: Path
    position: int
    length: int
    first: int
    last: int

    def __str__(self) -> str:
        lost = "what they held is not known"
        if self.last >= self.first:
            lost = f"offsets {self.first} to {self.last} lost"
        return f"{self.path}: {self.length} bytes at byte {self.position} are damaged ({lost})"


@dataclass(frozen=True, slots=True)
class Missing:
    """The offsets `first` to `last` are not in the log."""

    path: Path
    first: int
    last: int

    def __str__(self) -> str:
        return f"{self.path}: the offsets {self.first} to {self.last} are missing"


@dataclass(frozen=True, slots=True)
class Note:
    """Something was put right that cost no message.

    `is_damage` tells what a crash alone does not do to a file.
    """

    path: Path
    text: str
    is_damage: bool = False

    def __str__(self) -> str:
        return f"{self.path}: {self.text}"


Finding = TailCut | Damage | Missing | Note
