"""The exceptions that are meant for the person at the keyboard."""

from __future__ import annotations


class UserError(Exception):
    """A mistake or a lack that the user can mend; ``str()`` is up to three lines: what, why, what to do."""

    def __init__(self, what: str, why: str = "", do: str = ""):
        self.what, self.why, self.do = what, why, do
        super().__init__(what, why, do)

    def __str__(self) -> str:
        return "\n".join(line for line in (self.what, self.why, self.do) if line)


class TooLittleData(UserError):
    """There are too few samples for what was asked; a stage may go on and say so in place of its figures."""
