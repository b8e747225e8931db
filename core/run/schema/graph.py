"""How the gender of single words was written: graphs from patches over features to the word."""

from core.run.schema import table

GRAPHS = table(
    "graphs",
    "graph",
    "a language and held-out image whose caption's first gendered word has a graph; or a language without graphs",
    """
    lang: string - language of the caption: en or ar
    sample_id: int32 - image, as numbered in samples; -1: none of the language
    gender: string - gender that the image shows
    word: string - the gendered word of the caption
    counterpart: string - the word of the other gender in its place
    log_odds: float64 [log-odds] - of a woman's word against a man's, with the picture
    usual: float64 [log-odds] - the same with the mean picture (mean over training images, token by token)
    total: float64 [log-odds] - what the picture adds: log_odds less usual
    circuit: float64 [log-odds] - added where at every layer the graph's features alone may change
    circuit_error: float64 [log-odds] - added where at every layer the graph's features and the errors alone may change
    why: string - why there is no graph, else empty
    """,
)
GRAPH_NODES = table(
    "graph_nodes",
    "graph",
    "a node of a graph: patches, a feature at a kind of position, what the SAE of a layer leaves out, or the word",
    """
    lang: string - language of the caption: en or ar
    sample_id: int32 - image, as numbered in samples
    node: string - name of the node, unique in its graph
    kind: string - `patches`, `feature`, `error`, `word`
    layer: int32 - 0-based number of the decoder block; -1 for patches, the number of blocks for the word
    feature: int32 - number of the feature: its row of W_dec; -1 but for features
    sae_id: string - SAE that the number is of: hash of its tensors; null for patches and the word
    place: string - where the feature fires: `image`, `question`, `words` (the caption so far), `here` (where the word
        is chosen)
    patches: list of int32 - patches, row by row from 0
    activation: float64 - largest activation there with the picture
    usual: float64 - largest activation there with the mean picture, where it differs at all
    effect: float64 [log-odds] - what its change adds to the word, by mean gradients
    taken: float64 [log-odds] - what the word loses when it is taken back to the mean picture
    alone: float64 [log-odds] - what the word gains when it alone is put onto the mean picture
    measured: float64 [log-odds] - mean of taken and alone
    """,
)
GRAPH_EDGES = table(
    "graph_edges",
    "graph",
    "an edge of a graph, from a node to one of the next layer of nodes",
    """
    lang: string - language of the caption: en or ar
    sample_id: int32 - image, as numbered in samples
    source: string - name of the lower node
    target: string - name of the upper node
    effect: float64 [log-odds] - what the lower node adds to the word through the upper one, by mean gradients
    taken: float64 [log-odds] - what is lost where the upper node takes what becomes of it without the lower one
    alone: float64 [log-odds] - what is won where the upper node takes what the lower one alone makes of the mean
        picture's states
    measured: float64 [log-odds] - mean of what is lost and what is won
    holds: bool - whether measured has the sign of effect, at least half its size and at most twice
    """,
)
GRAPH_LAYERS = table(
    "graph_layers",
    "graph",
    "a graph, layer and dictionary: how much of what the picture adds the nodes explain",
    """
    lang: string - language of the caption: en or ar
    sample_id: int32 - image, as numbered in samples
    layer: int32 - 0-based number of the decoder block whose output is meant
    dictionary: string - `own`: the run's SAE; `random`: directions at random, as sparse
    n_nodes: int32 [features] - features of the layer in the graph; as many of the random dictionary
    whole: float64 [log-odds] - sum of all effects at the layer; the total, where the way was cut finely enough
    at_image: float64 [log-odds] - effect of all that changes at image tokens
    at_question: float64 [log-odds] - effect of all that changes at the question
    at_words: float64 [log-odds] - effect of all that changes at the caption so far
    at_here: float64 [log-odds] - effect of all that changes where the word is chosen
    features: float64 [log-odds] - effects of all features together
    error: float64 [log-odds] - effect of what the dictionary leaves out
    kept: float64 [log-odds] - effects of the graph's features together
    gross: float64 [log-odds] - sizes of the effects of all features and of the error, added up
    kept_gross: float64 [log-odds] - sizes of the effects of the graph's features, added up
    features_measured: float64 [log-odds] - what all features alone add to the mean picture
    error_measured: float64 [log-odds] - what the errors alone add to the mean picture
    kept_measured: float64 [log-odds] - what the graph's features alone add to the mean picture
    matched: float64 [log-odds] - mean effect of as many other features whose change is as long; null for `random`
    matched_measured: float64 [log-odds] - mean of what such features alone add to the mean picture; null for `random`
    """,
)
