"""A disk in memory that forgets what was not synced, tears writes and fails on demand.

`SimulatedDisk` takes the place of `LocalDisk` in tests. Its model:

- A file has the bytes that a read sees, the bytes that are durable, and the writes and truncations
  between the two. `File.sync` makes them durable; a sync that fails leaves them in doubt for ever,
  since the kernel may have dropped the dirty pages and call the next sync a success.
- A folder has the entries that a listing sees and those that are durable; between the two stand the
  creations, renames and deletions since `Disk.sync_folder`. A rename is one step, also from one
  folder to another. A sync of a file says nothing about its entry.
- `crash` makes a disk in one of the states that a loss of power may leave, `kill` what is left when
  only the process ends. The disk itself goes on, so many images can be made of one moment.

What Windows refuses is refused here too: replacing or deleting a file that is open.
"""

import copy
import errno
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, Self

Operation = Literal[
    "open",
    "close",
    "size",
    "read",
    "write",
    "truncate",
    "sync",
    "exists",
    "list",
    "make_folder",
    "replace",
    "delete",
    "delete_folder",
    "sync_folder",
    "lock",
]


class Choices(Protocol):
    """Decides what a crash leaves: a `random.Random`, or hypothesis' `st.randoms()`.

    The lowest number keeps all, the highest drops all.
    """

    def randint(self, a: int, b: int) -> int:
        """Return a number from `a` to `b`, both included."""


class Step(NamedTuple):
    """An operation that was done; the path of a replace is its target."""

    operation: Operation
    path: Path


@dataclass(eq=False)
class Fault:
    """An error that a disk was told to raise. Made by `SimulatedDisk.fail`."""

    operation: Operation | Literal["*"]
    where: Callable[[Path], bool]
    error: BaseException
    times: int | None
    after: int
    written: int
    hits: int = 0
    """How often it was raised."""
    _passed: int = 0

    def lift(self) -> None:
        """Raise it no more."""
        self.times = self.hits

    def strikes(self, operation: Operation, paths: tuple[Path, ...]) -> bool:
        """Tell whether this call fails, and count it."""
        if self.operation not in ("*", operation) or not any(self.where(path) for path in paths):
            return False
        if self._passed < self.after:
            self._passed += 1
            return False
        if self.times is not None and self.hits >= self.times:
            return False
        self.hits += 1
        return True


class SimulatedFile:
    """An open file of a simulated disk."""

    def __init__(
        self, disk: "SimulatedDisk", path: Path, node: "_File", *, read_only: bool = False
    ) -> None:
        self._disk = disk
        self._path = path
        self._node = node
        self._read_only = read_only
        self._closed = False

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._path

    def size(self) -> int:
        """Length in bytes."""
        with self._doing("size"):
            return len(self._node.content)

    def read(self, position: int, length: int) -> bytes:
        """Return `length` bytes from `position` on, fewer only where the file ends."""
        with self._doing("read"):
            _check_position(position)
            return bytes(self._node.content[position : position + length])

    def write(self, position: int, data: bytes) -> None:
        """Write all of `data` at `position`; a failing write may leave a part of it."""
        self._refuse_read_only()
        data = bytes(data)

        def write_part(fault: Fault) -> None:
            self._node.do(_Write(position, data[: fault.written]))

        with self._doing("write", write_part):
            _check_position(position)
            fitting = self._disk._fitting(self._node, position, len(data))
            self._node.do(_Write(position, data[:fitting]))
            if fitting < len(data):
                raise _error(errno.ENOSPC, self._path)

    def truncate(self, size: int) -> None:
        """Cut the file back to `size` bytes, or fill it up with zeros."""
        self._refuse_read_only()
        with self._doing("truncate"):
            _check_position(size)
            if self._disk._fitting(self._node, 0, size) < size:
                raise _error(errno.ENOSPC, self._path)
            self._node.do(_Truncate(size))

    def sync(self) -> None:
        """Make all that was written durable, save for what an earlier sync failed to."""
        with self._doing("sync", lambda _fault: self._node.doubt()):
            self._node.sync()
            self._disk.syncs[self._path] += 1

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        with self._disk._mutex:
            if not self._closed:
                self._closed = True
                self._disk._handles.remove(self)
                self._disk.trace.append(Step("close", self._path))

    def _refuse_read_only(self) -> None:
        if self._read_only:
            raise _error(errno.EBADF, self._path)

    @contextmanager
    def _doing(
        self, operation: Operation, on_fault: Callable[[Fault], None] | None = None
    ) -> Iterator[None]:
        with self._disk._mutex:
            if self._closed:
                raise ValueError("I/O operation on closed file")
            with self._disk._doing(operation, self._path, on_fault=on_fault):
                yield


class SimulatedLock:
    """A lock on a simulated disk."""

    def __init__(self, disk: "SimulatedDisk", path: Path, node: "_File") -> None:
        self._disk = disk
        self.path = path
        self._node = node

    def release(self) -> None:
        """Give the lock up; releasing twice is fine."""
        with self._disk._mutex:
            if self in self._disk._locks:
                self._disk._locks.remove(self)


class SimulatedDisk:
    """Folders and files in memory. Safe to use from several threads.

    Paths may be absolute or relative; a root and the working folder are always there.

        >>> disk = SimulatedDisk()
        >>> file = disk.open(Path("log"), create=True)
        >>> disk.sync_folder(Path())
        >>> file.write(0, b"kept")
        >>> file.sync()
        >>> file.write(4, b" lost")
        >>> disk.files()[Path("log")]
        b'kept lost'
        >>> disk.power_loss_worst().files()[Path("log")]
        b'kept'
    """

    def __init__(
        self,
        *,
        single_owner: bool = True,
        case_insensitive: bool = False,
        capacity_bytes: int | None = None,
    ) -> None:
        self.single_owner = single_owner
        """Refuse to open a file that is open already."""
        self.capacity_bytes = capacity_bytes
        """What all files together may hold; None for no limit."""
        self.trace: list[Step] = []
        """The operations that were done, not those that failed."""
        self.syncs: Counter[Path] = Counter()
        """How often each file and each folder was synced."""
        self._case_insensitive = case_insensitive
        self._roots: dict[str, _Folder] = {}
        self._pending: list[_Change] = []
        self._handles: list[SimulatedFile] = []
        self._locks: list[SimulatedLock] = []
        self._faults: list[Fault] = []
        self._mutex = threading.RLock()

    # The protocol.

    def open(self, path: Path, *, create: bool = False, read_only: bool = False) -> SimulatedFile:
        """Open a file for reading and writing; with `create`, make it where it is missing.

        With `read_only`, what would change it raises.
        """
        with self._doing("open", path):
            folder, key, node = self._locate(path)
            if isinstance(node, _Folder):
                raise _error(errno.EISDIR, path)
            if node is None:
                if not create:
                    raise _error(errno.ENOENT, path)
                node = _File()
                self._change((folder, key, _Entry(path.name, node)))
            elif self.single_owner:
                self._refuse_open(node, path)
            file = SimulatedFile(self, path, node, read_only=read_only)
            self._handles.append(file)
            return file

    def exists(self, path: Path) -> bool:
        """Tell whether there is a file or folder."""
        with self._doing("exists", path):
            return self._node(path) is not None

    def list(self, folder: Path) -> list[str]:
        """Return the sorted names in a folder, none where the folder is missing."""
        with self._doing("list", folder):
            node = self._node(folder)
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, folder)
            return sorted(entry.name for entry in node.entries.values()) if node else []

    def make_folder(self, folder: Path) -> None:
        """Make a folder and those above it, durably; one that is there is fine."""
        with self._doing("make_folder", folder):
            here = self._root(folder)
            for name in _names(folder):
                here = self._subfolder(here, name, folder)

    def replace(self, source: Path, target: Path) -> None:
        """Rename `source` to `target` in one step, in place of any file that is there."""
        with self._doing("replace", target, source):
            source_folder, source_key, moved = self._locate(source)
            target_folder, target_key, replaced = self._locate(target)
            if moved is None:
                raise _error(errno.ENOENT, source)
            if isinstance(moved, _Folder):
                raise _error(errno.EISDIR, source)
            if isinstance(replaced, _Folder):
                raise _error(errno.EISDIR, target)
            self._refuse_open(moved, source)
            self._refuse_open(replaced, target)
            self._change(
                (source_folder, source_key, None),
                (target_folder, target_key, _Entry(target.name, moved)),
            )

    def delete(self, path: Path) -> None:
        """Delete a file; one that is missing is fine."""
        with self._doing("delete", path):
            node = self._node(path)
            if isinstance(node, _Folder):
                raise _error(errno.EISDIR, path)
            if node is not None:
                self._refuse_open(node, path)
                folder, key, _ = self._locate(path)
                self._change((folder, key, None))

    def delete_folder(self, folder: Path) -> None:
        """Delete an empty folder; one that is missing is fine."""
        with self._doing("delete_folder", folder):
            node = self._node(folder)
            if isinstance(node, _Folder):
                if node.entries:
                    raise _error(errno.ENOTEMPTY, folder)
                parent, key, _ = self._locate(folder)
                self._change((parent, key, None))

    def sync_folder(self, folder: Path) -> None:
        """Make the creations, renames and deletions in a folder durable."""
        with self._doing("sync_folder", folder):
            node = self._node(folder)
            if node is None:
                raise _error(errno.ENOENT, folder)
            if isinstance(node, _File):
                raise _error(errno.ENOTDIR, folder)
            self._settle(node)
            self.syncs[folder] += 1

    def lock(self, path: Path) -> SimulatedLock | None:
        """Take the lock, or return None where somebody else has it.

        As on a real disk, the lock is a file, empty and left behind.
        """
        with self._doing("lock", path):
            folder, key, node = self._locate(path)
            if isinstance(node, _Folder):
                raise _error(errno.EISDIR, path)
            if node is None:
                node = _File()
                self._change((folder, key, _Entry(path.name, node)))
            if any(lock._node is node for lock in self._locks):
                return None
            lock = SimulatedLock(self, path, node)
            self._locks.append(lock)
            return lock

    # What is left after an end.

    def crash(self, choices: Choices, *, entries_in_order: bool = True) -> "SimulatedDisk":
        """Return a disk in one of the states that a loss of power may leave.

        Of each file, every unsynced operation is kept or dropped, whatever became of the others; of
        a write also only the head or the tail may be kept. Bytes that nothing was kept for are
        zero. Of each folder, the first so many unsynced changes are kept; without
        `entries_in_order`, any of them, except those after a dropped one of the same name. No
        handle, lock or fault is left.
        """
        with self._mutex:
            kept = self._surviving(choices, in_order=entries_in_order)
            image = self._blank()
            image._roots = {
                anchor: _crashed(root, kept, choices) for anchor, root in self._roots.items()
            }
            return image

    def kill(self) -> "SimulatedDisk":
        """Return what the end of the process leaves: all but the handles, locks and faults.

        What was not synced is there, and a crash can still take it.
        """
        with self._mutex:
            image = self._blank()
            image._roots, image._pending = copy.deepcopy((self._roots, self._pending))
            return image

    def power_loss_worst(self) -> "SimulatedDisk":
        """Return the crash that drops all that was not synced."""
        return self.crash(_Worst())

    # What a test tells the disk to do.

    def fail(
        self,
        operation: Operation | Literal["*"],
        where: str | Path | Callable[[Path], bool] = "*",
        *,
        error: BaseException | None = None,
        times: int | None = 1,
        after: int = 0,
        written: int = 0,
    ) -> Fault:
        """Make calls fail.

        Args:
            operation: which calls, "*" for all.
            where: which paths: a pattern as of `Path.match`, one path, or a predicate. Of a replace
                the source or the target.
            error: what to raise, EIO unless given.
            times: how often, None for ever.
            after: how many calls go well before.
            written: how many bytes of a failing write are written all the same.
        """
        fault = Fault(
            operation=operation,
            where=_predicate(where),
            error=OSError(errno.EIO, os.strerror(errno.EIO)) if error is None else error,
            times=times,
            after=after,
            written=written,
        )
        with self._mutex:
            self._faults.append(fault)
        return fault

    def heal(self) -> None:
        """Forget all faults."""
        with self._mutex:
            self._faults.clear()

    def corrupt(self, path: Path, position: int, data: bytes) -> None:
        """Change bytes of a file, durable or not, behind everybody's back."""
        with self._mutex:
            node = self._node(path)
            if not isinstance(node, _File):
                raise _error(errno.ENOENT, path)
            if not 0 <= position <= position + len(data) <= len(node.content):
                raise ValueError(f"{path} has no {len(data)} bytes at {position}")
            node.corrupt(position, data)

    # What a test asks the disk.

    def files(self) -> dict[Path, bytes]:
        """Return every file's bytes as a read sees them, sorted by path."""
        with self._mutex:
            return {path: bytes(node.content) for path, node in sorted(self._walk())}

    @property
    def open_files(self) -> tuple[Path, ...]:
        """The paths of the files that are open, sorted."""
        with self._mutex:
            return tuple(sorted(file.path for file in self._handles))

    @property
    def held_locks(self) -> tuple[Path, ...]:
        """The paths of the locks that are held, sorted."""
        with self._mutex:
            return tuple(sorted(lock.path for lock in self._locks))

    @property
    def used_bytes(self) -> int:
        """What all files together hold."""
        with self._mutex:
            return sum(len(node.content) for _, node in self._walk())

    # Private.

    @contextmanager
    def _doing(
        self,
        operation: Operation,
        *paths: Path,
        on_fault: Callable[[Fault], None] | None = None,
    ) -> Iterator[None]:
        with self._mutex:
            for fault in self._faults:
                if fault.strikes(operation, paths):
                    if on_fault is not None:
                        on_fault(fault)
                    raise copy.copy(fault.error)
            yield
            self.trace.append(Step(operation, paths[0]))

    def _blank(self) -> "SimulatedDisk":
        return SimulatedDisk(
            single_owner=self.single_owner,
            case_insensitive=self._case_insensitive,
            capacity_bytes=self.capacity_bytes,
        )

    def _key(self, name: str) -> str:
        return name.casefold() if self._case_insensitive else name

    def _root(self, path: Path) -> "_Folder":
        return self._roots.setdefault(path.anchor, _Folder())

    def _node(self, path: Path) -> "_Node | None":
        node: _Node = self._root(path)
        for name in _names(path):
            entry = node.entries.get(self._key(name)) if isinstance(node, _Folder) else None
            if entry is None:
                return None
            node = entry.node
        return node

    def _locate(self, path: Path) -> "tuple[_Folder, str, _Node | None]":
        """Return the folder that `path` is in, its key there and what it is."""
        if not path.name:
            raise _error(errno.EISDIR, path)
        folder = self._node(path.parent)
        if folder is None:
            raise _error(errno.ENOENT, path)
        if isinstance(folder, _File):
            raise _error(errno.ENOTDIR, path)
        key = self._key(path.name)
        entry = folder.entries.get(key)
        return folder, key, entry.node if entry else None

    def _subfolder(self, folder: "_Folder", name: str, path: Path) -> "_Folder":
        key = self._key(name)
        entry = folder.entries.get(key)
        if entry is None:
            made = _Folder()
            if any(part[:2] == (folder, key) for change in self._pending for part in change):
                self._settle(folder)
            folder.entries[key] = folder.durable[key] = _Entry(name, made)
            return made
        if isinstance(entry.node, _File):
            raise _error(errno.EEXIST, path)
        return entry.node

    def _refuse_open(self, node: "_Node | None", path: Path) -> None:
        held = {file._node for file in self._handles} | {lock._node for lock in self._locks}
        if node in held:
            raise _error(errno.EACCES, path)

    def _change(self, *change: "_Part") -> None:
        for folder, key, entry in change:
            _put(folder.entries, key, entry)
        self._pending.append(change)

    def _settle(self, folder: "_Folder") -> None:
        """Make the changes of `folder` durable, and what came before them in other folders."""
        folders = {folder}
        settled, left = [], []
        for change in reversed(self._pending):
            if folders.intersection(_folders(change)):
                folders.update(_folders(change))
                settled.append(change)
            else:
                left.append(change)
        for change in reversed(settled):
            for where, key, entry in change:
                _put(where.durable, key, entry)
        self._pending = left[::-1]

    def _surviving(self, choices: Choices, *, in_order: bool) -> "dict[_Folder, dict[str, _Entry]]":
        """Return the entries after a crash of the folders that had unsynced changes."""
        counts = Counter(folder for change in self._pending for folder in _folders(change))
        kept = dict(counts)
        if in_order:
            kept = {folder: count - choices.randint(0, count) for folder, count in kept.items()}
        entries = {folder: dict(folder.durable) for folder in counts}
        dropped: set[object] = set()
        for change in self._pending:
            folders = _folders(change)
            names = set(folders) if in_order else {part[:2] for part in change}
            if in_order:
                drop = any(kept[folder] == 0 for folder in folders)
            else:
                drop = choices.randint(0, 1) == 1
            if drop or names & dropped:
                dropped |= names
                continue
            for folder, key, entry in change:
                _put(entries[folder], key, entry)
            for folder in folders:
                kept[folder] -= 1
        return entries

    def _fitting(self, node: "_File", position: int, length: int) -> int:
        """Return how many bytes of a write there is room for."""
        if self.capacity_bytes is None:
            return length
        room = len(node.content) + max(0, self.capacity_bytes - self.used_bytes)
        return max(0, min(length, room - position))

    def _walk(self) -> "Iterator[tuple[Path, _File]]":
        for anchor, root in self._roots.items():
            yield from _walk(Path(anchor), root)


def every_crash(disk: SimulatedDisk, *, entries_in_order: bool = True) -> Iterator[SimulatedDisk]:
    """Yield every image that `crash` can make: for few and short unsynced operations."""
    choices = _Every()
    while choices.advance():
        yield disk.crash(choices, entries_in_order=entries_in_order)


class _Worst:
    """Choices that drop all."""

    def randint(self, a: int, b: int) -> int:
        return b


class _Every:
    """Choices that are other ones after each `advance`, until there are no more."""

    def __init__(self) -> None:
        self._script: list[int] | None = None
        self._highest: list[int] = []
        self._at = 0

    def randint(self, a: int, b: int) -> int:
        assert self._script is not None
        if self._at == len(self._script):
            self._script.append(a)
            self._highest.append(b)
        self._at += 1
        return self._script[self._at - 1]

    def advance(self) -> bool:
        self._at = 0
        if self._script is None:
            self._script = []
            return True
        while self._script and self._script[-1] == self._highest[-1]:
            self._script.pop()
            self._highest.pop()
        if self._script:
            self._script[-1] += 1
        return bool(self._script)


@dataclass(frozen=True, slots=True)
class _Write:
    position: int
    data: bytes

    def do(self, content: bytearray) -> None:
        content.extend(bytes(max(0, self.position - len(content))))
        content[self.position : self.position + len(self.data)] = self.data

    def survivor(self, choices: Choices) -> "_Write | None":
        length = len(self.data)
        if length < 2:
            return None if choices.randint(0, 1) else self
        match choices.randint(0, 3):
            case 0:
                return self
            case 1:
                return _Write(self.position, self.data[: choices.randint(1, length - 1)])
            case 2:
                torn = choices.randint(1, length - 1)
                return _Write(self.position + torn, self.data[torn:])
            case _:
                return None

    def patched(self, position: int, data: bytes) -> Self:
        return type(self)(self.position, _patched(self.data, position - self.position, data))


@dataclass(frozen=True, slots=True)
class _Truncate:
    size: int

    def do(self, content: bytearray) -> None:
        del content[self.size :]
        content.extend(bytes(max(0, self.size - len(content))))

    def survivor(self, choices: Choices) -> "_Truncate | None":
        return None if choices.randint(0, 1) else self

    def patched(self, position: int, data: bytes) -> Self:
        return self


@dataclass(slots=True)
class _Pending:
    operation: _Write | _Truncate
    fate: Literal["unsynced", "doubtful", "durable"] = "unsynced"


@dataclass(eq=False, slots=True)
class _File:
    content: bytes | bytearray = b""
    durable: bytes = b""
    pending: list[_Pending] = field(default_factory=list)

    def do(self, operation: _Write | _Truncate) -> None:
        if isinstance(operation, _Write) and not operation.data:
            return
        if isinstance(self.content, bytes):  # shared with other images until it changes
            self.content = bytearray(self.content)
        operation.do(self.content)
        self.pending.append(_Pending(operation))

    def sync(self) -> None:
        if any(pending.fate == "doubtful" for pending in self.pending):
            for pending in self.pending:
                if pending.fate == "unsynced":
                    pending.fate = "durable"
        elif self.pending:
            self.durable = bytes(self.content)
            self.pending = []

    def doubt(self) -> None:
        for pending in self.pending:
            if pending.fate == "unsynced":
                pending.fate = "doubtful"

    def crashed(self, choices: Choices) -> "_File":
        if not self.pending:
            return _File(self.durable, self.durable)
        content = bytearray(self.durable)
        for pending in self.pending:
            kept = pending.operation
            survivor = kept if pending.fate == "durable" else kept.survivor(choices)
            if survivor is not None:
                survivor.do(content)
        left = bytes(content)
        return _File(left, left)

    def __deepcopy__(self, memo: object) -> "_File":
        pending = [_Pending(pending.operation, pending.fate) for pending in self.pending]
        return _File(bytes(self.content), self.durable, pending)

    def corrupt(self, position: int, data: bytes) -> None:
        self.content = bytearray(_patched(bytes(self.content), position, data))
        self.durable = _patched(self.durable, position, data)
        for pending in self.pending:
            pending.operation = pending.operation.patched(position, data)


@dataclass(eq=False, slots=True)
class _Folder:
    entries: "dict[str, _Entry]" = field(default_factory=dict)
    durable: "dict[str, _Entry]" = field(default_factory=dict)


_Node = _File | _Folder


class _Entry(NamedTuple):
    name: str
    node: _Node


_Part = tuple[_Folder, str, _Entry | None]
_Change = tuple[_Part, ...]


def _folders(change: _Change) -> tuple[_Folder, ...]:
    return tuple(dict.fromkeys(folder for folder, _, _ in change))


def _put(entries: dict[str, _Entry], key: str, entry: _Entry | None) -> None:
    if entry is None:
        entries.pop(key, None)
    else:
        entries[key] = entry


def _crashed(folder: _Folder, kept: dict[_Folder, dict[str, _Entry]], choices: Choices) -> _Folder:
    entries = {}
    for key, (name, node) in kept.get(folder, folder.durable).items():
        if isinstance(node, _Folder):
            entries[key] = _Entry(name, _crashed(node, kept, choices))
        else:
            entries[key] = _Entry(name, node.crashed(choices))
    return _Folder(entries, dict(entries))


def _walk(path: Path, folder: _Folder) -> Iterator[tuple[Path, _File]]:
    for name, node in folder.entries.values():
        if isinstance(node, _Folder):
            yield from _walk(path / name, node)
        else:
            yield path / name, node


def _names(path: Path) -> tuple[str, ...]:
    return path.parts[1:] if path.anchor else path.parts


def _patched(old: bytes, position: int, data: bytes) -> bytes:
    """Return `old` with `data` in place of what stands at `position`, as far as they overlap."""
    start, end = max(0, position), min(len(old), position + len(data))
    if start >= end:
        return old
    return old[:start] + data[start - position : end - position] + old[end:]


def _predicate(where: str | Path | Callable[[Path], bool]) -> Callable[[Path], bool]:
    match where:
        case str():
            return lambda path: path.match(where)
        case Path():
            return lambda path: path == where
        case _:
            return where


def _error(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


def _check_position(position: int) -> None:
    if position < 0:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
