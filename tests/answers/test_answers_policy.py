"""What a page says of the generic masculine is counted, and silent where there is none."""

import pandas as pd

from core.answers.policy import changes_line


def captions(*rows: tuple[str, str, bool | None]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=["lang", "before_named", "clean"])


def test_changes_are_counted_apart_by_whether_the_caption_was_in_the_generic_masculine():
    rows = [("ar", "unmarked", True)] * 3 + [("ar", "unmarked", False)] + [("ar", "female", True)] * 2
    said = changes_line(captions(*rows, ("ar", "none", None), ("en", "male", True)))
    assert "generic masculine 3 of 4" in said and "others 2 of 2" in said
    assert "others 0 of 0." in changes_line(captions(("ar", "unmarked", False)))


def test_without_a_generic_masculine_nothing_is_said():
    assert changes_line(captions(("ar", "female", True), ("en", "male", True))) == ""
    assert changes_line(captions(("ar", "unmarked", None))) == ""
