"""Images, what people wrote of them, and what is known to be where on them: samples, references, areas."""

from core.run.schema import table

SAMPLES = table(
    "samples",
    "prepare",
    "an image, by sample_id",
    """
    sample_id: int32 - number of the image: 0..n-1, in row order
    image_id: string - file stem (the whole name where two are equal), row of a table that holds the images, or the demo
        world's id
    split: string - train or test, by the image's content
    gender: string - annotated gender of the image, or empty
    width: int32 [pixels] - width of the stored image
    height: int32 [pixels] - height of the stored image
    image_file: string - picture that the model sees, relative to the run
    thumb_file: string - small JPEG for the app, relative to the run
    attributes: string - JSON of what is known to be true of the image, or empty
    """,
)
REFERENCES = table(
    "references",
    "prepare",
    "a reference caption, by image, language and number",
    """
    sample_id: int32 - image, as numbered in samples
    lang: string - its language: en or ar
    n: int16 - number of the reference within image and language
    text: string - the reference caption
    """,
)
AREAS = table(
    "areas",
    "prepare",
    "a box around something on an image, by image, kind and number; where nothing is known of an image it has none",
    """
    sample_id: int32 - image, as numbered in samples
    kind: string - what is in the box: person or object
    n: int16 - number of the box within image and kind
    left: float32 [share] - left edge, as a share of the image's width
    top: float32 [share] - upper edge, as a share of the image's height
    right: float32 [share] - right edge, as a share of the image's width
    bottom: float32 [share] - lower edge, as a share of the image's height
    """,
)
