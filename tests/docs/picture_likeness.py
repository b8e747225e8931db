"""How often the image that is most like another shares what it shows, for ways to compare what fires on images.

Run: python -m tests.docs.picture_likeness cache/demo
"""

from __future__ import annotations

import json
import sys

import numpy as np

from core.features.pooled import Pooled
from core.picture.alike import ImageCodes
from core.run import Run

SHOWN = ("role", "object", "background", "style")


def main(run_dir: str) -> None:
    run = Run(run_dir)
    samples = run.table("samples", ["sample_id", "gender", "attributes"]).to_pandas()
    attributes = [json.loads(a or "{}") for a in samples["attributes"]]
    truth = {"gender": samples["gender"].to_numpy()}
    truth |= {name: np.array([str(a.get(name)) for a in attributes]) for name in SHOWN}
    print("layer, how compared:", *truth, "(share of nearest images that agree; of pairs drawn by chance)")
    for layer in run.config().activations.layers:
        means = Pooled(run.dir, layer).codes("image").toarray()[0::2][samples["sample_id"]].astype(np.float64)
        roots = np.sqrt(means)
        ways = {
            "mean activation": means,
            "less the average": means - means.mean(0),
            "roots less the average": roots - roots.mean(0),
            "whether it fires, less the average": (means > 0) - (means > 0).mean(0),
        }
        for name, codes in ways.items():
            unit = codes / np.maximum(np.linalg.norm(codes, axis=1, keepdims=True), 1e-12)
            cosine = unit @ unit.T
            np.fill_diagonal(cosine, -2)
            nearest = cosine.argmax(1)
            agree = [f"{(v == v[nearest]).mean():.2f} {(v[:, None] == v).mean():.2f}" for v in truth.values()]
            print(layer, name, *agree, sep=", ")
        usual = ImageCodes.of_run(run.dir, layer, run.languages[0]).usual()
        print(layer, usual)


if __name__ == "__main__":
    main(sys.argv[1])
