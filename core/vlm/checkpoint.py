"""Whether the folder of a checkpoint is whole, and whether what was loaded is what its files hold; without torch.

transformers fills in what it does not find: random numbers for a tensor that no file has, an empty tokenizer for one
that is missing, nothing for a LoRA that it does not know of. All of that runs, and writes captions.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.vlm.identity import AGAIN, LORA_CONFIG, read_json

POINTER, POINTER_BYTES = b"version https://git-lfs.github.com/spec/", 1024  # what git-lfs leaves in a file's place
ONE_FILE, INDEX = "model.safetensors", "model.safetensors.index.json"
LORA_WEIGHTS = "adapter_model.safetensors"  # as peft calls it
OF_LORA = re.compile(r"\.?lora_[A-Za-z]")
TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"), ("spiece.model",))
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")
OTHER_FORMS = ("*.gguf", "*.h5", "*.msgpack", "*.onnx", "consolidated*.safetensors")
READ_TYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "BOOL")  # whole numbers: buffers of positions
MAX_HEADER = 100 * 2**20  # bytes; that of safetensors itself
N_NAMED = 8  # names in a message; the others are counted


def check_folder(directory: Path) -> None:
    """UserError, by name, for what a checkpoint's folder lacks or holds in a form that is not read."""
    _check_pointers(directory)
    _check_config(directory)
    files = weight_files(directory)
    for path in files:
        check_tensors(path)
    _check_left_out(directory, files)
    if not any(all((directory / name).is_file() for name in names) for names in TOKENIZERS):
        raise _not_whole(directory, "It has no tokenizer: tokenizer.json (or tokenizer.model) is missing.")
    if not (directory / "tokenizer_config.json").is_file():
        raise _not_whole(directory, "tokenizer_config.json is missing, which names the special tokens.")
    processor = directory / "processor_config.json"
    whole = processor.is_file() and "image_processor" in read_json(processor)
    if not whole and not (directory / "preprocessor_config.json").is_file():
        raise _not_whole(directory, "preprocessor_config.json is missing, which says how images are prepared.")


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files that transformers reads of a folder; UserError where there are none, or not all."""
    if (directory / ONE_FILE).is_file():
        return [directory / ONE_FILE]
    if (directory / INDEX).is_file():
        told = read_json(directory / INDEX).get("weight_map")
        if not isinstance(told, dict) or not told or not all(isinstance(name, str) for name in told.values()):
            raise _not_whole(directory, f"{INDEX} has no weight_map, which says in which file a tensor is.")
        names = sorted(set(told.values()))
        if absent := [name for name in names if not (directory / name).is_file()]:
            raise _not_whole(directory, f"{len(absent)} of {len(names)} files of weights are missing: {named(absent)}.")
        return [directory / name for name in names]
    shards = sorted(path.name for path in directory.glob("model-*-of-*.safetensors"))
    if shards:
        raise _not_whole(directory, f"{INDEX} is missing, which says what is in {named(shards)}.")
    raise _no_weights(directory)


def tensor_headers(path: Path) -> dict[str, dict[str, Any]]:
    """dtype, shape and data_offsets of each tensor of a safetensors file, read of its first bytes alone.

    Raises UserError where the header is damaged.
    """
    size = path.stat().st_size
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(size - 8, MAX_HEADER):
            why = "It is empty." if not size else f"Its header cannot be read; it has {size:,} bytes."
            raise UserError(f"{path} is no safetensors file.", why, AGAIN)
        try:
            tree = json.loads(file.read(length))
        except ValueError as error:  # of JSON and of UTF-8
            raise UserError(f"{path} is no safetensors file.", "Its header is damaged.", AGAIN) from error
    return {name: entry for name, entry in tree.items() if name != "__metadata__"}


def check_loaded(name: str, info: Mapping[str, Any], in_file: Callable[[str], str]) -> None:
    """UserError unless the files hold exactly the tensors of the model, by what ``from_pretrained`` tells (``info``).

    Tied weights and buffers that are made anew are left out of ``info`` by transformers. ``in_file`` gives what a
    tensor of the model is called in the files.
    """
    missing = [_both(key, in_file(key)) for key in sorted(info["missing_keys"])]
    odd = [
        f"{key} ({_shape(theirs)} in the files, {_shape(ours)} by config.json)"
        for key, theirs, ours in sorted(info["mismatched_keys"])
    ]
    found = {
        "Not in the checkpoint": missing,
        "In the checkpoint and not in the model": sorted(info["unexpected_keys"]),
        "Of another shape": odd,
    }
    said = [f"{what} ({len(names)}): {named(names)}." for what, names in found.items() if names]
    if missing:
        said.append("In the place of what is missing transformers would put random numbers.")
    if said:
        do = "Download the model again, or take config.json and weights that belong together."
        raise UserError(f"The checkpoint {name} does not hold this model.", "\n".join(said), do)


def named(names: Sequence[str]) -> str:
    """The first names and how many there are beside them."""
    more = len(names) - N_NAMED
    return ", ".join(names[:N_NAMED]) + (f" and {more} more" if more > 0 else "")


def check_json(directory: Path) -> None:
    """UserError for the first .json of a folder that is none, a cut-off tokenizer.json for one."""
    for path in sorted(directory.glob("*.json")):
        read_json(path)


def _check_pointers(directory: Path) -> None:
    """git-lfs leaves a note of some 130 bytes in the place of a file that it has not fetched; links may lead nowhere."""
    pointers: dict[str, int] = {}
    for path in sorted(directory.iterdir()):
        if path.is_symlink() and not path.exists():
            raise _not_whole(directory, f"{path.name} is a link to a file that is not there.")
        if not path.is_file() or path.stat().st_size > POINTER_BYTES:
            continue
        content = path.read_bytes()
        if content.startswith(POINTER):
            pointers[path.name] = len(content)
        elif not content and path.suffix in (".safetensors", ".json", ".jinja", ".model", ".txt"):
            raise _not_whole(directory, f"{path.name} is empty.")
    if pointers:
        first, *others = sorted(pointers, key=lambda name: (not name.endswith(".safetensors"), name))
        also = f"\nSo are {named(others)}." if others else ""
        raise UserError(
            f"{first} is a git-lfs pointer of {pointers[first]} bytes.",
            f"{directory} was cloned without the files that git-lfs keeps elsewhere.{also}",
            f"Run `git lfs pull` in {directory}, or download the model again.",
        )


def _check_config(directory: Path) -> None:
    for name in ("config.json", "generation_config.json", "tokenizer_config.json", "processor_config.json"):
        if (directory / name).exists():
            read_json(directory / name)
    method = read_json(directory / "config.json").get("quantization_config")
    if method:
        raise quantised(directory.name, method.get("quant_method", "") if isinstance(method, dict) else "")


def quantised(name: str, method: str) -> UserError:
    """What to say of weights that were stored with fewer bits: their layers are no matrices that can be read."""
    return UserError(
        f"The weights of {name} are quantised" + (f" ({method})." if method else "."),
        "Directions, heads and edits are read of the matrices themselves, which such a checkpoint does not hold.",
        'Take the model in bfloat16 or float32; model.quantize = "8bit" or "4bit" makes it smaller while it is loaded.',
    )


def check_tensors(path: Path) -> None:
    """UserError for a safetensors file that is cut off, or holds numbers that are not read."""
    headers, size = tensor_headers(path), path.stat().st_size
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    whole = start + max((entry["data_offsets"][1] for entry in headers.values()), default=0)
    if size != whole:
        what = "cut off" if size < whole else "not what its header says"
        raise UserError(f"{path} is {what}.", f"It has {size:,} bytes; its header tells of {whole:,}.", AGAIN)
    if odd := [name for name, entry in headers.items() if entry["dtype"] not in READ_TYPES]:
        raise quantised(path.name, headers[odd[0]]["dtype"])


def _check_left_out(directory: Path, files: Iterable[Path]) -> None:
    """A LoRA in a file that nothing reads would change nothing, and nobody would know."""
    read = {path.name for path in files}
    for path in sorted(directory.glob("*.safetensors")):
        if path.name in read or (path.name == LORA_WEIGHTS and (directory / LORA_CONFIG).is_file()):
            continue
        if any(OF_LORA.search(name) for name in tensor_headers(path)):
            raise UserError(
                f"{path.name} in {directory} is a LoRA that is not used.",
                f"It is applied where it is called {LORA_WEIGHTS} and {LORA_CONFIG} is beside it.",
                "Put both files of the LoRA there as peft saves them, or move it out of the folder.",
            )


def _no_weights(directory: Path) -> UserError:
    """What to say of a folder without safetensors: in which other form it has its weights."""
    pickles = sorted({path.name for pattern in PICKLES for path in directory.glob(pattern)})
    others = sorted({path.name for pattern in OTHER_FORMS for path in directory.glob(pattern)})
    if pickles:
        return UserError(
            f"The weights in {directory} are pickles, which are not read.",
            f"{named(pickles)}: a pickle can run code when it is opened.",
            'Take the model as safetensors; or, if you trust the file, save it anew: python -c "import transformers as t; '
            f"t.AutoModelForImageTextToText.from_pretrained('{directory}', dtype='auto').save_pretrained('{directory}')\"",
        )
    if others:
        return UserError(
            f"The weights in {directory} are in a form that is not read.",
            f"{named(others)}: read is {ONE_FILE}, or several files with {INDEX}.",
            "Take the model as it is published for transformers.",
        )
    return _not_whole(directory, f"It has no weights: neither {ONE_FILE} nor {INDEX}.")


def _not_whole(directory: Path, why: str) -> UserError:
    return UserError(f"The checkpoint in {directory} is not whole.", why, AGAIN)


def _both(key: str, in_file: str) -> str:
    return key if in_file == key else f"{key} (in the files: {in_file})"


def _shape(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape)) or "one number"
