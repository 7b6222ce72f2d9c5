"""Mirrors of a data set that hold every image twice: one copy is taken."""

from __future__ import annotations

from collections.abc import Mapping

from diascope.errors import SourceError


def one_home(home_of: Mapping[str, str], *, where: object) -> str:
    """Return the one folder that holds the images.

    A folder within another that has files of all the same names is a nested copy, as mirrors have
    it, and left out.

    Parameters
    ----------
    home_of : mapping of str to str
        For the name of each image the folder that its copy of the data set lies in, ``"."`` for
        the root.
    where : Path
        The source, for the error message.

    Raises
    ------
    SourceError
        The images lie in several folders that are not copies one within another.

    Examples
    --------
    >>> one_home({"0/a.png": ".", "x/0/a.png": "x"}, where="mirror")
    '.'
    """
    members: dict[str, set[str]] = {}
    for name, home in home_of.items():
        members.setdefault(home, set()).add(name.removeprefix(f"{home}/"))
    homes = sorted(
        home
        for home in members
        if not any(
            other != home
            and (other == "." or home.startswith(f"{other}/"))
            and members[other] == members[home]
            for other in members
        )
    )
    if len(homes) > 1:
        raise SourceError(
            f"The images are here {len(homes)} times: {', '.join(homes[:5])}.",
            where=where,
            fix="Pass one of them as --source.",
        )
    return homes[0]
