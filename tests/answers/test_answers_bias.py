"""What was planted is compared language by language, each over its own roles, and who is not compared is named."""

import pandas as pd

from core.answers.bias import recovery_answer


def metrics(*rows: tuple[str, float, int, str]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["lang", "value", "n", "why"])
    same = {"metric": "correlation", "source": "sampled", "attribute": "role", "control_high": 0.4}
    return table.assign(**same, low=table["value"] - 0.1, high=table["value"] + 0.05)


ROLES = pd.DataFrame(columns=["attribute", "source", "lang", "n_counted", "n_images"])


def test_each_language_has_its_own_number_of_roles():
    said = recovery_answer(metrics(("en", 0.9, 30, ""), ("ar", 0.9, 24, "")), "role", "sampled", ROLES).text
    assert "over 30 roles" in said and "over 24 roles" in said


def test_a_language_that_cannot_be_compared_is_named_with_the_reason():
    found = recovery_answer(metrics(("en", 0.9, 30, ""), ("ar", float("nan"), 5, "5 groups")), "role", "sampled", ROLES)
    assert "Arabic (5 groups)" in found.text and found.sure == "supported"
