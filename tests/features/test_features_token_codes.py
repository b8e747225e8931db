"""Kept codes are those of the SAE, bit for bit, wherever the borders lie; what does not fit is refused."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from core.errors import UserError
from core.features import token_codes
from core.features.token_codes import Coder, TokenCodes, encode_part, part_path, write_part
from core.sae.files import sae_id
from core.sae.modules import ARCHITECTURES
from tests.features.features_toys import ToyReader
from tests.sae.sae_toys import random_sae, random_tokens

LAYER, N, PER_PART = 3, 50, 16


def kept(tmp_path, architecture):
    """The codes of N rows, every seventh of them BOS, in files of PER_PART rows; and what they are made of."""
    sae, x = random_sae(architecture), random_tokens(N)
    group = np.where(np.arange(N) % 7 == 0, -1, 0)
    x[torch.from_numpy(group < 0)] *= 100
    coder = Coder(sae, group)
    for number, start in enumerate(range(0, N, PER_PART)):
        stop = min(start + PER_PART, N)
        codes = encode_part(coder, ToyReader(x), start, stop)
        write_part(part_path(tmp_path, LAYER, number), codes, stop - start, sae.cfg.d_sae, sae_id(sae))
    return TokenCodes(tmp_path, LAYER, sae_id(sae), PER_PART), sae, x, group


def dense(codes, n_rows, d_sae):
    table = np.zeros((n_rows, d_sae), np.float32)
    table[codes.row, codes.feature] = codes.value
    return table


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_codes_read_back_are_those_of_the_sae_on_every_architecture(tmp_path, architecture):
    codes, sae, x, group = kept(tmp_path, architecture)
    z = sae.encode(x).numpy() * (group >= 0)[:, None]
    for start, stop in ((0, N), (3, 20), (16, 32), (31, 33), (40, N), (7, 8)):
        found = codes.read(start, stop)
        np.testing.assert_allclose(dense(found, stop - start, sae.cfg.d_sae), z[start:stop], rtol=1e-5, atol=1e-6)
        assert (np.diff(found.row * sae.cfg.d_sae + found.feature) > 0).all(), "sorted by row and then feature"


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_who_reads_kept_codes_has_the_bits_of_who_encodes_in_the_same_batches(tmp_path, architecture):
    codes, sae, x, group = kept(tmp_path, architecture)
    for start, stop in ((0, 16), (16, 32), (32, 48), (48, N)):
        rows = torch.from_numpy(np.arange(start, stop)[group[start:stop] >= 0])
        worked_out = Coder(sae, group).code(start, stop, x[rows])
        read = Coder(sae, group, codes).code(start, stop, x[rows])
        for one, other in zip(worked_out, read, strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize("d_sae", [40, 1 << 17])
def test_numbers_of_features_need_two_bytes_or_four(tmp_path, d_sae):
    codes = token_codes.RowCodes(np.array([0, 2]), np.array([7, d_sae - 1]), np.array([0.5, 3.0], np.float32))
    write_part(part_path(tmp_path, LAYER, 0), codes, 3, d_sae, "sae")
    found = TokenCodes(tmp_path, LAYER, "sae").read(0, 3)
    assert (found.row.tolist(), found.feature.tolist(), found.value.tolist()) == ([0, 2], [7, d_sae - 1], [0.5, 3.0])
    assert load_file(part_path(tmp_path, LAYER, 0))["feature"].itemsize == (2 if d_sae == 40 else 4)


def test_equal_codes_are_equal_bytes(tmp_path):
    codes = token_codes.RowCodes(np.array([0, 2]), np.array([7, 9]), np.array([0.5, 3.0], np.float32))
    paths = [tmp_path / f"{i}.safetensors" for i in range(12)]
    for path in paths:
        write_part(path, codes, 3, 40, "sae")
    assert len({path.read_bytes() for path in paths}) == 1


def test_what_does_not_fit_is_refused(tmp_path):
    codes, *_ = kept(tmp_path, "topk")
    path = part_path(tmp_path, LAYER, 1)
    content, tensors = path.read_bytes(), load_file(path)
    metadata = {"sae_id": codes.sae_id}
    with pytest.raises(UserError, match="another SAE"):
        TokenCodes(tmp_path, LAYER, "0" * 16, PER_PART).read(0, 3)
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match="cannot be read"):
        codes.read(17, 20)
    path.write_bytes(b"")
    with pytest.raises(UserError, match="cannot be read"):
        codes.read(17, 20)
    save_file(tensors | {"feature": np.full_like(tensors["feature"], 40)}, path, metadata)
    with pytest.raises(UserError, match="names feature 40 of 40"):
        codes.read(17, 20)
    save_file(tensors | {"value": np.full_like(tensors["value"], np.inf)}, path, metadata)
    with pytest.raises(UserError, match="not finite"):
        codes.read(17, 20)
    save_file(tensors | {"indptr": tensors["indptr"][::-1].copy()}, path, metadata)
    with pytest.raises(UserError, match="does not hold the rows"):
        codes.read(17, 20)
    with pytest.raises(UserError, match="cannot be read"):
        codes.read(N, N + 5)  # more rows than were encoded
    path.unlink()
    with pytest.raises(UserError, match=r"part_00001.* is missing"):
        codes.read(0, 20)
    assert len(codes.read(0, 16).row), "the other files are read as before"
