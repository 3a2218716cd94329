import shutil
from pathlib import Path

import pytest

from cluster.candidate import Candidate, Price, load_candidates, load_prices
from cluster.errors import InputError

HUB = {"name": "a", "engine": "vllm", "model": "owner/model", "revision": "abc"}
FAR = {"name": "a", "engine": "openai", "model": "m", "endpoint": {"url": "http://far/v1"}}
CHANGES_ANSWERS = [
    {"engine": "transformers"},
    {"model": "owner/other"},
    {"revision": "def"},
    {"tokenizer": "owner/tokenizer"},
    {"dtype": "float32"},
    {"template": "Q: {text}"},
    {"chat": True},
    {"sampling": {"temperature": 0.2}},
    {"sampling": {"stop": ["\n"]}},
    {"sampling": {"json_schema": {"type": "object"}}},
    {"sampling": {"logprobs": 5}},
    {"chat": True, "system": "Be brief."},
    {"extend": 256},
    {"seed": 1},
    {"max_model_len": 64},
]
CHANGES_NOTHING = [
    {"name": "b"},
    {"samples": 9},
    {"resources": {"gpus": 2, "replicas": 3, "cpus": 1}},
    {"price": {"input": 1, "output": 2}},
    {"sampling": {"temperature": 0, "max_tokens": 512}},
    {"sampling": {"json_schema": None, "logprobs": 0}, "system": None, "extend": 0},
]


def make_model(folder: Path, *, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize("change", CHANGES_ANSWERS, ids=str)
def test_identity_sees_what_changes_an_answer(change):
    before = Candidate.model_validate(HUB).candidate_id
    assert Candidate.model_validate(HUB | change).candidate_id != before


@pytest.mark.parametrize("change", CHANGES_NOTHING, ids=str)
def test_identity_does_not_see_the_rest(change):
    before = Candidate.model_validate(HUB).candidate_id
    assert Candidate.model_validate(HUB | change).candidate_id == before


def test_identity_is_the_one_lakes_hold():
    # Written down: if it changes, every lake's completions are generated again.
    expected = "f8e414d7d060d22dd148448484b363c4b0cb342c1d3d0289e713b850130c66b4"
    assert Candidate.model_validate(HUB).candidate_id == expected


def test_identity_sees_where_an_endpoint_is_and_not_how_it_is_asked():
    def candidate_id(**change) -> str:
        endpoint = FAR["endpoint"] | change
        return Candidate.model_validate(FAR | {"endpoint": endpoint}).candidate_id

    before = Candidate.model_validate(FAR).candidate_id
    assert candidate_id(url="http://farther/v1") != before
    assert candidate_id(url="http://far/v1/") == before
    hard = {"concurrency": 2, "requests_per_minute": 60, "timeout_seconds": 5, "retries": 1}
    assert candidate_id(key_variable="GATEWAY_KEY", **hard) == before
    assert Candidate.model_validate(FAR | {"chat": True}).candidate_id != before
    assert Candidate.model_validate(FAR | {"revision": "m-2"}).candidate_id != before


def test_identity_sees_the_order_of_a_schemas_properties():
    def candidate_id(*names: str) -> str:
        schema = {"type": "object", "properties": {name: {"type": "string"} for name in names}}
        candidate = Candidate.model_validate(HUB | {"sampling": {"json_schema": schema}})
        again = Candidate.model_validate_json(candidate.model_dump_json())
        assert again.candidate_id == candidate.candidate_id
        return candidate.candidate_id

    # A model that has reasoned before it judges answers otherwise.
    assert candidate_id("reason", "verdict") != candidate_id("verdict", "reason")


def test_local_model_is_known_by_content_not_path(tmp_path):
    for clone in ("one", "two"):
        make_model(tmp_path / clone / "models" / "m")
        write(tmp_path / clone / "c.yaml", "{name: a, engine: vllm, model: models/m}")
    one, two = (load_candidates(tmp_path / clone / "c.yaml")[0] for clone in ("one", "two"))
    assert one.model == str(tmp_path / "one" / "models" / "m")
    assert one.candidate_id == two.candidate_id
    assert Candidate.model_validate(one.model_dump(mode="json")).candidate_id == one.candidate_id

    (tmp_path / "one/models/m/README.md").write_text("not read by any engine")
    assert load_candidates(tmp_path / "one/c.yaml")[0].candidate_id == one.candidate_id
    (tmp_path / "one/models/m/model.safetensors").write_bytes(b"Weights")
    assert load_candidates(tmp_path / "one/c.yaml")[0].candidate_id != one.candidate_id


def test_local_tokenizer_is_known_by_content_not_path(tmp_path):
    make_model(tmp_path / "m")
    shutil.copytree(make_model(tmp_path / "t1"), tmp_path / "t2")
    entry = "{name: a, engine: vllm, model: m, tokenizer: ./%s}"
    ids = [
        load_candidates(write(tmp_path / f"{t}.yaml", entry % t))[0].candidate_id
        for t in ("t1", "t2")
    ]
    assert ids[0] == ids[1]
    (tmp_path / "t2/tokenizer.json").write_text("[]")
    assert load_candidates(tmp_path / "t2.yaml")[0].candidate_id != ids[1]


def test_yaml_list_mapping_single_and_toml_say_the_same(tmp_path):
    entry = "{name: a, engine: vllm, model: o/m, revision: r, sampling: {temperature: 0.2}}"
    toml = """
        [[candidates]]
        name = "a"
        engine = "vllm"
        model = "o/m"
        revision = "r"
        sampling = {temperature = 0.2}
    """
    files = {"a.yaml": f"[{entry}]", "b.yaml": f"candidates: [{entry}]", "c.yml": entry}
    files["d.toml"] = toml
    loaded = [load_candidates(write(tmp_path / name, text)) for name, text in files.items()]
    assert all(one == loaded[0] for one in loaded)
    assert loaded[0][0].sampling.temperature == 0.2


def test_template_of_design_and_prices(tmp_path):
    file = write(
        tmp_path / "c.yaml",
        """
        name: qwen2.5-7b
        engine: vllm
        model: Qwen/Qwen2.5-7B-Instruct
        revision: a09a354
        template: "{text}"
        sampling: {temperature: 0.2, max_tokens: 512}
        samples: 4
        resources: {gpus: 1, replicas: 2}
        price: {input: 0.10, output: 0.40}
        """,
    )
    (candidate,) = load_candidates(file)
    assert candidate.samples == 4
    assert candidate.price == Price(input=0.1, output=0.4)
    prices = write(tmp_path / "p.yaml", "qwen2.5-7b: {input: 0, output: 1.5}")
    assert load_prices(prices) == {"qwen2.5-7b": Price(input=0, output=1.5)}


GOOD = "name: a\nengine: vllm\nmodel: o/m\nrevision: r\n"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (GOOD + "sample: 3\n", ["'a'", "unknown field 'sample'", "did you mean 'samples'"]),
        (GOOD + "sampling: {tempratur: 1}\n", ["'sampling.tempratur'", "'temperature'"]),
        (GOOD + "sampling: {temperature: hot}\n", ["'sampling.temperature'", "'hot'"]),
        (GOOD + "sampling: {temperature: .nan}\n", ["'sampling.temperature'"]),
        (GOOD + "samples: 0\n", ["'samples'", "0"]),
        (GOOD + "price: {input: -1, output: 1}\n", ["'price.input'", "-1"]),
        (GOOD + "template: no place\n", ["{text}"]),
        (GOOD + "template: 'Q {text}'\nchat: true\n", ["template and chat"]),
        (GOOD + "system: Be brief.\n", ["'system'", "chat: true"]),
        (GOOD + "chat: true\nsystem: ''\n", ["'system'", "at least 1"]),
        (GOOD + "extend: -1\n", ["'extend'", "-1"]),
        (GOOD + "sampling: {logprobs: 21}\n", ["'sampling.logprobs'", "20"]),
        (GOOD + "sampling: {json_schema: 3}\n", ["'sampling.json_schema'", "dictionary"]),
        (
            GOOD + "sampling: {json_schema: {properties: {a: {type: text}}}}\n",
            ["'sampling.json_schema'", "no JSON schema", "'text'", "properties.a.type"],
        ),
        (
            GOOD + "sampling: {json_schema: {const: 2024-01-01}}\n",
            ["'sampling.json_schema'", "date"],
        ),
        (
            GOOD.replace("vllm", "transformers") + "sampling: {json_schema: {}}\n",
            ["'sampling.json_schema'", "'transformers'", "'vllm'"],
        ),
        (GOOD + "model_digest: abc\n", ["'model_digest'", "remove"]),
        (GOOD.replace("vllm", "vlmm"), ["'vlmm'", "vllm"]),
        (GOOD.replace("name: a\n", ""), ["candidate 1", "'name' is missing"]),
        (GOOD.replace("revision: r\n", ""), ["'model'", "o/m", "revision"]),
        (GOOD.replace("o/m", "./gone"), ["'model'", "gone", "no folder"]),
        (GOOD.replace("o/m", "empty"), ["'model'", "config.json"]),
        ("- name: a\n  engine: [\n", ["line 3", "YAML"]),
        ("- just text\n", ["candidate 1", "just text"]),
        ("[]", ["no candidates"]),
        ("", ["no candidates"]),
        ("candidates: []\nextra: 1", ["'extra'"]),
    ],
)
def test_bad_files_are_explained(tmp_path, text, parts):
    (tmp_path / "empty").mkdir()
    file = write(tmp_path / "bad.yaml", text)
    with pytest.raises(InputError) as caught:
        load_candidates(file)
    for part in [str(file), *parts]:
        assert part in str(caught.value)


FAR_GOOD = "name: a\nengine: openai\nmodel: m\n"
SECRET = "s3cret0"
KEYS = [
    f"sk-proj-{SECRET}AbCdEf",
    f"hf_{SECRET}AbCdEfGh",
    f"{SECRET}AbCdEfGhIjKlMnOpQrStU",
    f"key with {SECRET}",
]


@pytest.mark.parametrize(
    ("fields", "parts"),
    [
        ("", ["'endpoint' is missing", "url"]),
        ("endpoint: {}", ["'endpoint.url' is missing"]),
        ("endpoint: {url: far/v1}", ["'endpoint.url'", "http://localhost:8000/v1"]),
        ("endpoint: {url: 'http://[far'}", ["'endpoint.url'", "http://localhost:8000/v1"]),
        (
            "endpoint: {url: http://far/v1, key: %s}",
            ["'endpoint.key'", "known: concurrency, key_variable"],
        ),
        ("endpoint: http://u:%s@far", ["'endpoint'"]),
        ("endpoint: {url: 'http://u:%s@far/v1'}", ["'endpoint.url'", "password", "'key_variable'"]),
        ("endpoint: {url: 'http://far/v1?key=%s'}", ["'endpoint.url'", "'?'", "'key_variable'"]),
        ("endpoint: {url: http://far/v1, concurrency: 0}", ["'endpoint.concurrency'", "1"]),
        ("endpoint: {url: http://far/v1, retries: 99}", ["'endpoint.retries'", "20"]),
        ("endpoint: {url: http://far/v1}\ndtype: float32", ["'dtype'", "remove"]),
        ("endpoint: {url: http://far/v1}\nresources: {replicas: 2}", ["endpoint.concurrency"]),
    ],
)
def test_bad_endpoints_are_explained_and_no_secret_is_repeated(tmp_path, fields, parts):
    with pytest.raises(InputError) as caught:
        load_candidates(write(tmp_path / "c.yaml", FAR_GOOD + fields.replace("%s", SECRET)))
    for part in ["c.yaml: candidate 1 ('a')", *parts]:
        assert part in str(caught.value)
    assert_untold(caught.value)


@pytest.mark.parametrize("key", KEYS)
def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated(tmp_path, key):
    for endpoint in (
        f"{{url: http://far/v1, key_variable: {key}}}",
        f"{{url: 'http://far/{key}/v1'}}",
    ):
        if " " in key and "key_variable" not in endpoint:
            continue
        with pytest.raises(InputError, match=r"endpoint\.(url|key_variable)") as caught:
            load_candidates(write(tmp_path / "c.yaml", f"{FAR_GOOD}endpoint: {endpoint}"))
        assert_untold(caught.value)


def assert_untold(error: BaseException | None) -> None:
    """Neither in the message nor in a traceback with what caused it."""
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__


@pytest.mark.parametrize(
    "endpoint",
    [
        "{url: 'https://gateway.example/openai/deployments/gpt-4o-mini-2024-07-18/'}",
        "{url: 'https://far/8d3c1a6e-52b7-4c1f-9f0e-6a2b8c4d1e7f/v1', key_variable: HF_TOKEN}",
        "{url: 'http://[::1]:8000/v1', key_variable: OPENAI_API_KEY_OF_TEAM_17_IN_EUROPE}",
    ],
)
def test_names_that_are_no_keys_are_not_mistaken_for_them(tmp_path, endpoint):
    load_candidates(write(tmp_path / "c.yaml", f"{FAR_GOOD}endpoint: {endpoint}"))


def test_an_engine_with_weights_takes_no_endpoint(tmp_path):
    file = write(tmp_path / "c.yaml", GOOD + "endpoint: {url: http://far/v1}")
    with pytest.raises(InputError, match="'endpoint': engine 'vllm' runs the model itself"):
        load_candidates(file)


@pytest.mark.parametrize(
    ("second", "part"),
    [
        ("{name: a, engine: vllm, model: o/n, revision: r}", "the same name"),
        ("{name: b, engine: vllm, model: o/m, revision: r, samples: 2}", "the same answers"),
    ],
)
def test_duplicates_are_refused(tmp_path, second, part):
    first = "{name: a, engine: vllm, model: o/m, revision: r}"
    with pytest.raises(InputError, match=part):
        load_candidates(write(tmp_path / "c.yaml", f"[{first}, {second}]"))


def test_files_that_cannot_be_read_are_explained(tmp_path):
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    for file, part in (("gone.yaml", "no such file"), (".", "folder"), ("latin.yaml", "UTF-8")):
        with pytest.raises(InputError, match=part):
            load_candidates(tmp_path / file)
    with pytest.raises(InputError, match=r"broken TOML.*line 2"):
        load_candidates(write(tmp_path / "c.toml", "a = 1\nb = =\n"))


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a: {input: 1}", "'output' is missing"),
        ("a: {input: 1, output: 1, inptu: 2}", "did you mean 'input'"),
        ("a: 3", "price of 'a'"),
        ("[]", "USD"),
    ],
)
def test_bad_prices_are_explained(tmp_path, text, part):
    with pytest.raises(InputError, match=part):
        load_prices(write(tmp_path / "p.yaml", text))
