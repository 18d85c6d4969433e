"""The one kind of error that a user is meant to read."""

from __future__ import annotations


class UserError(Exception):
    """Something that the user can put right.

    Attributes:
        what: what went wrong, one line.
        why: the cause, one line, may be empty.
        todo: what to do next, one line, may be empty.
    """

    def __init__(self, what: str, *, why: str = "", todo: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.why = why
        self.todo = todo

    def __str__(self) -> str:
        """All parts on one line, as the command line prints them."""
        parts = [self.what]
        if self.why:
            parts.append(self.why)
        if self.todo:
            parts.append(self.todo)
        return ". ".join(part.rstrip(".") for part in parts) + "."


class BundleError(UserError):
    """A bundle that is missing, incomplete, corrupt, hostile or of an unknown schema version."""


class MissingExtraError(UserError):
    """An optional dependency that is not installed; `todo` names the install command."""

    def __init__(self, package: str, *, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package}, which is not installed",
            todo=f"install it with: pip install 'mobile-export[{extra}]'",
        )
