"""The examples of docs/api.md, five lines of input at most for each name of the door; a test runs what they say."""

EXAMPLES = {
    "list_runs": """
>>> from core import list_runs
>>> list_runs()
['demo']
""",
    "open_run": """
>>> from core import open_run
>>> run = open_run("demo")
>>> run.features(layer=3, sort="density", descending=True).columns[:3].tolist()
['layer', 'feature', 'sae_id']
>>> run.frame("captions", sample_id=0)["lang"].tolist()
['en', 'ar']
""",
    "load_sae": """
>>> from core import load_sae, open_run
>>> sae = load_sae(open_run("demo"), layer=3)
>>> sae.W_dec.shape == (sae.cfg.d_sae, sae.cfg.d_model)
True
""",
    "encode": """
>>> import numpy as np
>>> from core import encode, load_sae, open_run
>>> sae = load_sae(open_run("demo"), layer=3)
>>> codes = encode(sae, np.ones((2, sae.cfg.d_model), np.float32))
>>> codes.shape == (2, sae.cfg.d_sae) and bool((codes >= 0).all())
True
""",
    "load_model": """
>>> from core import load_model, open_run
>>> model = load_model(open_run("demo"))
>>> model.n_layers, model.d_model
(8, 192)
""",
    "steer": """
>>> from core import open_run, steer
>>> captions = steer(open_run("demo"), sample=0, features={(3, 5): 2.0})
>>> captions["row"].unique().tolist()
['before', 'after', 'control', 'means', 'prompt']
>>> bool((captions["ratio"][captions["row"] == "control"] > 0).all())
True
""",
    "figure": """
>>> import pandas as pd
>>> from core import figure
>>> ends = {"place": "before", "lang": "en", "trained_on": "ar", "layer": [1, 3], "n": 40, "low": 0.6, "high": 1.0}
>>> type(figure("layers.transfer_figure", pd.DataFrame(ends).assign(value=0.8), "auc", backend="paper")).__name__
'Figure'
""",
    "Edit": """
>>> from core import Edit
>>> Edit(layer=3, feature=5, sae_id="992c6433a9445329", mode="add", strength=2.0).amount(max_act=4.5)
9.0
>>> Edit(layer=3, direction="means", mode="add", strength=0.5, unit="resid", where=("image",)).does_nothing
False
""",
    "Direction": """
>>> import torch
>>> from core import Direction
>>> Direction(write=torch.tensor([0.0, 2.0])).reading
tensor([0.0000, 0.5000])
""",
    "UserError": """
>>> from core import UserError, open_run
>>> try:
...     open_run("nothing")
... except UserError as error:
...     print(error.what, error.do)
There is no run called nothing. Make one: python -m precompute run demo
""",
    "HookPoint": """
>>> from core import HookPoint
>>> HookPoint.parse("layers.5.resid_post")
HookPoint(layer=5, name='resid_post')
>>> str(HookPoint(5, "z"))
'layers.5.z'
""",
    "ActivationCache": """
>>> import torch
>>> from core import ActivationCache
>>> model = torch.nn.Sequential(torch.nn.Identity(), torch.nn.ReLU())
>>> with ActivationCache(model, "layers.*.resid_post") as cache:
...     _ = model(torch.tensor([[-1.0, 2.0]]))
>>> cache["layers.1.resid_post"]
tensor([[0., 2.]])
""",
    "FactoredMatrix": """
>>> import torch
>>> from core import FactoredMatrix
>>> matrix = FactoredMatrix(torch.diag(torch.tensor([3.0, 1.0, 0.0])))
>>> matrix.rank(0.95), round(matrix.entropy, 3)
(2, 0.562)
>>> matrix.principal_components(1).share
tensor([0.9000], dtype=torch.float64)
""",
    "LogitLens": """
>>> from core import LogitLens, load_model, open_run
>>> run = open_run("demo")
>>> model = load_model(run)
>>> rows, image = [model.prompt_ids("Describe the image.")], model.encode_images([run.image(0)])
>>> resid = {layer: x[0, -1:] for layer, x in model.forward(rows, image, layers=[1, 7]).resid.items()}
>>> LogitLens(model).top_words(resid, k=1)[-1]["word"]
'A'
""",
    "TransformerProbeAnalyzer": """
>>> import numpy as np
>>> from core import TransformerProbeAnalyzer
>>> female = np.arange(80) % 2 == 0
>>> residuals = np.random.default_rng(0).normal(size=(80, 8)) + 3 * female[:, None]
>>> rows = TransformerProbeAnalyzer(female).analyze({"en": residuals})
>>> [(row["measure"], round(row["value"], 2)) for row in rows if row["measure"] == "auc"]
[('auc', 1.0)]
""",
    "InteractionPatternAnalyzer": """
>>> import numpy as np
>>> from core import InteractionPatternAnalyzer
>>> codes = np.repeat([[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]], 20, axis=0)
>>> analyzer = InteractionPatternAnalyzer(codes)
>>> found = analyzer.co_activation(analyzer.pairs_among([0, 1, 2]))
>>> found.pairs.tolist(), found.columns["n_both"].tolist(), found.columns["pmi"].tolist()
([[0, 1], [0, 2], [1, 2]], [20, 0, 0], [1.0, -inf, -inf])
""",
    "MorphologicalGenderAnalyzer": """
>>> from core import MorphologicalGenderAnalyzer
>>> car, doctor = MorphologicalGenderAnalyzer().analyze_text("سيارة طبيبها")
>>> car.grammatical, car.person, doctor.grammatical, doctor.person, doctor.owner
('female', False, 'male', True, 'female')
""",
    "SemanticGenderAnalyzer": """
>>> from core import SemanticGenderAnalyzer
>>> captions = ["A woman in a dress"] * 30 + ["A man in a tie"] * 30
>>> dress = SemanticGenderAnalyzer(captions, "en", genders=["female"] * 30 + ["male"] * 30).word("dress")
>>> dress.leans, dress.n_female, dress.pmi_female
('female', 30, 1.0)
""",
    "Dictionary": """
>>> import numpy as np
>>> from core import Dictionary
>>> Dictionary("en", seed=0, sae_id="toy", codes=np.eye(6), decoder=np.ones((6, 4))).codes.shape
(6, 6)
""",
    "CrossLingualFeatureAligner": """
>>> import numpy as np
>>> from core import CrossLingualFeatureAligner, Dictionary
>>> codes, decoder = np.tile(np.eye(4), (20, 1)), np.eye(4)
>>> en, ar = Dictionary("en", 0, "a", codes, decoder), Dictionary("ar", 0, "b", codes[:, ::-1], decoder[::-1])
>>> match = CrossLingualFeatureAligner(train=np.arange(80) < 40).match(en, ar)["mutual"]
>>> match.pairs.a.tolist(), match.pairs.b.tolist(), match.correlation.round(3).tolist()
([0, 1, 2, 3], [3, 2, 1, 0], [1.0, 1.0, 1.0, 1.0])
""",
    "ContrastiveLanguageAnalyzer": """
>>> import numpy as np
>>> from core import ContrastiveLanguageAnalyzer
>>> residuals, train = np.random.default_rng(0).normal(size=(120, 8)), np.arange(120) % 2 == 0
>>> rows = ContrastiveLanguageAnalyzer().similarity({"en": residuals, "ar": 2 * residuals + 1}, train)
>>> [(row["measure"], round(row["value"], 3)) for row in rows if row["measure"] == "cka"]
[('cka', 1.0)]
""",
    "LanguageSpecificFeatureIdentifier": """
>>> import numpy as np
>>> from core import LanguageSpecificFeatureIdentifier
>>> en = np.random.default_rng(0).random((200, 2)) * (np.random.default_rng(1).random((200, 2)) < 0.4)
>>> ar = np.column_stack([en[:, 0], np.zeros(200)])
>>> [profile.language_class for profile in LanguageSpecificFeatureIdentifier().profiles(en, ar)]
['shared', 'english']
""",
    "LanguageFeatureProfile": """
>>> import numpy as np
>>> from core import LanguageSpecificFeatureIdentifier
>>> en = np.ones((60, 1))
>>> (profile,) = LanguageSpecificFeatureIdentifier().profiles(en, np.zeros((60, 1)))
>>> profile.language_index, profile.n_en, profile.n_ar, profile.language_class
(-1.0, 60, 0, 'english')
""",
}
