"""The exception tree: every problem that the user can fix.

::

    DiascopeError
    ├── SourceError        a file, folder, archive or download is missing, broken or hostile
    ├── ImageError         one image cannot be used
    ├── DataError          labels, groups or tables do not fit together
    │   └── LeakageError   the same group or image would be on both sides of a split
    ├── SettingsError      an option, a recipe or a plan asks for something impossible
    │   ├── GroupsUnknownError it is not known which images are from one patient
    │   └── UnknownNameError   no data set, model or setting has this name
    └── RunError           a run folder or bundle is missing, unfinished, finished or damaged

Anything else that escapes is a bug. The command line turns a ``DiascopeError`` into one
message and exit code 2.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable

MAX_LISTED = 60  # names in one message


class DiascopeError(Exception):
    """A problem that the user can fix.

    Parameters
    ----------
    problem : str
        What is wrong, in one sentence, with the value that is wrong.
    where : str or path-like, optional
        The file, folder, row or option that it concerns.
    fix : str, optional
        What to do next.

    Examples
    --------
    >>> print(DiascopeError("The folder is empty.", where="cells/", fix="Pass --source."))
    The folder is empty.
      where: cells/
      do: Pass --source.
    """

    def __init__(self, problem: str, *, where: object = None, fix: str | None = None) -> None:
        self.problem, self.where, self.fix = problem, where, fix
        lines = [problem]
        if where is not None:
            lines.append(f"  where: {where}")
        if fix is not None:
            lines.append(f"  do: {fix}")
        super().__init__("\n".join(lines))


class SourceError(DiascopeError):
    """A file, folder, archive or download is missing, broken or hostile."""


class ImageError(DiascopeError):
    """One image cannot be used; the work goes on without it."""


class DataError(DiascopeError):
    """Labels, groups or tables do not fit together."""


class LeakageError(DataError):
    """The same group or the same image would be on both sides of a split."""


class SettingsError(DiascopeError):
    """An option, a recipe or a plan asks for something impossible."""


class GroupsUnknownError(SettingsError):
    """It is not known which images are from one patient; the user has to.

    ``group_from`` is the rule that is most likely the right one, or ``column`` the column, where
    there is one.
    """

    def __init__(
        self,
        problem: str,
        *,
        where: object,
        fix: str,
        group_from: str | None = None,
        column: str | None = None,
    ) -> None:
        super().__init__(problem, where=where, fix=fix)
        self.group_from, self.column = group_from, column


class UnknownNameError(SettingsError):
    """No data set, model or setting has this name.

    Parameters
    ----------
    kind : str
        What was looked for, such as ``"data set"``.
    known : iterable of str
        The names there are; the nearest is suggested, and of very many only the nearest are listed.
    """

    def __init__(self, kind: str, name: str, known: Iterable[str], *, fix: str = "") -> None:
        names = sorted(known)
        nearest = difflib.get_close_matches(name, names, n=5, cutoff=0.5)
        suggestion = f"Did you mean {nearest[0]!r}? " if nearest else ""
        if len(names) > MAX_LISTED:
            listed = f"Near to it: {', '.join(nearest) or 'none'}. There are {len(names)} in all."
        else:
            listed = f"There are: {', '.join(names)}."
        super().__init__(
            f"There is no {kind} named {name!r}.", fix=f"{suggestion}{listed} {fix}".rstrip()
        )


def raise_together(*checks: Callable[[], object]) -> None:
    """Run checks that do not need each other, and raise all that is wrong at once.

    Raises
    ------
    DiascopeError
        The problem, where there is one; a ``SettingsError`` with all of them where there are more.
    """
    problems = []
    for check in checks:
        try:
            check()
        except DiascopeError as problem:
            problems.append(problem)
    if len(problems) == 1:
        raise problems[0]
    if problems:
        raise SettingsError("\n".join(map(str, problems)))


class RunError(DiascopeError):
    """A run folder or bundle is missing, unfinished, finished or damaged."""
