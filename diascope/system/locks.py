"""Locks of the operating system: one whose process has died is free again."""

from __future__ import annotations

from typing import Any

from filelock import FileLock

from diascope.errors import SourceError


class Lock(FileLock):
    """A lock by a file, which has to lie on a file system that knows locks."""

    def acquire(self, *args: Any, **options: Any) -> Any:
        """Take the lock; ``SourceError`` where the file system has none, ``Timeout`` if taken."""
        try:
            return super().acquire(*args, **options)
        except NotImplementedError as error:
            raise SourceError(
                "The file system does not support locks, which keep two commands apart.",
                where=self.lock_file,
                fix="Use another one, or mount it with locks (NFS 4; Lustre with the option "
                "flock).",
            ) from error
