"""What differs between two groups of images is named, and by chance as seldom as its p says."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array

from core.features import groups
from core.features.firing import firing
from core.features.groups import group_contrast, says_word, view_means
from core.features.pooled import Pooled
from core.intervals import wilson
from core.run import Run


def images(rng, n=40, d=200, planted=()):
    """Codes (n, d), few of them active, the first half of the images with ``planted`` features up."""
    codes = rng.gamma(1, 1, (n, d)) * (rng.random((n, d)) < 0.2)
    first = np.arange(n) < n // 2
    codes[np.ix_(first, planted)] += 3
    return csr_array(codes), first, codes.std(0)


def test_what_is_planted_in_one_group_comes_first_and_alone_is_beyond_chance():
    found = group_contrast(*images(np.random.default_rng(0), planted=(7, 90)))
    assert set(found.features["feature"].head(2)) == {7, 90}
    assert set(found.features.loc[found.features["p"] <= 0.05, "feature"]) == {7, 90}
    assert (found.features["difference"] > 0).all()


def test_where_the_groups_are_alike_a_feature_is_named_at_most_as_often_as_p_says():
    rng = np.random.default_rng(1)
    named = [(group_contrast(*images(rng), 99, seed).features["p"] <= 0.05).any() for seed in range(120)]
    assert sum(named) <= 14  # 120 at .05: more in 1 of 1,000 such tests


def test_the_other_way_round_the_other_features_come():
    codes, first, spread = images(np.random.default_rng(2), planted=(7,))
    assert 7 not in set(group_contrast(codes, ~first, spread).features["feature"])


def test_the_difference_of_shares_has_its_interval_over_images_and_blocks_change_nothing(monkeypatch):
    codes, first, spread = images(np.random.default_rng(4), planted=(7,))
    found = group_contrast(codes, first, spread)
    one = found.features.iloc[0]
    fires = codes.toarray()[:, 7] > 0
    assert one["feature"] == 7 and one["share_difference"] == pytest.approx(fires[first].mean() - fires[~first].mean())
    ends = [wilson(fires[of].sum(), of.sum()) for of in (first, ~first)]
    low = one["share_difference"] - np.hypot(fires[first].mean() - ends[0][0], ends[1][1] - fires[~first].mean())
    assert one["share_low"] == pytest.approx(low) and one["share_low"] < one["share_difference"] < one["share_high"]
    monkeypatch.setattr(groups, "BLOCK", 7)
    again = group_contrast(codes, first, spread)
    pd.testing.assert_frame_equal(again.features, found.features)
    assert np.allclose(again.chance, found.chance)


def test_what_fires_on_average_is_the_same_of_kept_codes_and_of_pool(small_run):
    run = Run(small_run)
    layer, ids = run.config().activations.layers[0], [5, 2, 9]
    for view in ("image", "caption_en", "caption_ar"):
        found = view_means(run, layer, ids, view).toarray()
        lang = "en" if view == "image" else view[-2:]
        rows = [2 * i + (lang == "ar") for i in ids]
        pooled = Pooled(run.dir, layer).codes(view.split("_")[0]).tocsr()[rows].toarray()
        np.testing.assert_allclose(found, pooled, rtol=1e-4, atol=1e-6)
        firings = [firing(run, layer, i, lang) for i in ids]
        dense = [one.dense(np.arange(found.shape[1]))[one.of_view(view)].mean(0) for one in firings]
        np.testing.assert_allclose(found, np.stack(dense), rtol=1e-4, atol=1e-6)


def test_a_group_without_images_is_refused():
    codes, first, spread = images(np.random.default_rng(3))
    with pytest.raises(ValueError, match="0 of 40"):
        group_contrast(codes, np.zeros_like(first), spread)


@pytest.mark.parametrize(
    ("text", "word", "has"),
    [
        ("A woman walks.", "woman", True),
        ("A Woman walks.", "wOman", True),
        ("A woman walks.", "man", False),
        ("صورة للطبيبة", "طبيبة", True),
        ("طبيبة", "طبيب", False),
        ("a police officer", "police officer", True),
        ("a police", "police officer", False),
        ("a woman", " ", False),
    ],
)
def test_a_word_is_whole_and_may_wear_arabic_prefixes(text, word, has):
    assert says_word([text], word) is has
