"""Models made of models and of uploads, and what they then do in a chat."""

import hashlib
import re

import pytest

from hyperllama_nb.testing import install_tiny, tiny_model
from hyperllama_nb.testing.model import TEMPLATE
from tests.models import gguf_files
from tests.service.hosting import ANSWER, error_of, until

SHOUTING = TEMPLATE.replace("message['content']", "message['content'] | upper")
PARAMETER = re.compile(r'^(\S+)\s+(".*"|\S+)$')


@pytest.fixture(scope="module")
def pirate(service):
    """Make a model with everything that a model can have of its own."""
    status, lines = service.lines(
        "/api/create",
        model="pirate",
        **{"from": "tiny"},
        system="Talk like a pirate.",
        template=SHOUTING,
        parameters={"temperature": 0.5, "stop": ["\n\n", 'a "b"'], "num_predict": 3, "mirostat": 1},
        messages=[
            {"role": "user", "content": "Who are you?"},
            {"role": "assistant", "content": "Arr."},
        ],
        license=["First.", "Second."],
    )
    assert status == 200
    yield lines
    service.store.delete("pirate")


def rendered(client, path="/api/chat", **body):
    """Return the prompt that the model would be given."""
    body = {"model": "pirate", "_debug_render_only": True, **body}
    return client.post(path, json=body).json()["_debug_info"]["rendered_template"]


@pytest.mark.compat("POST /api/create", "from a model: progress", "same")
def test_the_progress_is_ollamas(service, pirate):
    said = [line["status"] for line in pirate]
    files = service.store.get("tiny").files
    assert [s for s in said if s.startswith("using")] == [
        f"using existing layer {file.digest}" for file in files
    ]
    new = [s for s in said if s.startswith("creating")]
    assert len(new) == 6
    assert all(re.fullmatch(r"creating new layer sha256:[0-9a-f]{64}", s) for s in new)
    assert said[-2:] == ["writing manifest", "success"]
    assert any("mirostat" in s for s in said)


@pytest.mark.compat("POST /api/create", "from a model: system, template, messages", "same")
def test_its_system_template_and_messages_are_in_every_prompt(client, pirate):
    messages = [{"role": "user", "content": "Hi"}]
    text = rendered(client, messages=messages)
    parts = ["TALK LIKE A PIRATE.", "WHO ARE YOU?", "ARR.", "HI"]
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    assert text.index("<|im_start|>system") == 0
    text = rendered(client, "/api/generate", prompt="Hi")
    assert [text.index(part) for part in parts] == sorted(text.index(part) for part in parts)
    # What a request brings itself comes before what the model has.
    own = [{"role": "system", "content": "Be brief."}, *messages]
    text = rendered(client, messages=own)
    assert text.index("BE BRIEF.") < text.index("ARR.") < text.index("HI")
    assert "PIRATE" not in text
    text = rendered(client, "/api/generate", prompt="Hi", system="Be brief.")
    assert "BE BRIEF." in text
    assert "PIRATE" not in text


@pytest.mark.compat("POST /api/create", "from a model: parameters", "same")
def test_its_parameters_are_the_defaults_of_its_requests(service, client, pirate):
    whole = service.generate(model="pirate").json()
    assert (whole["eval_count"], whole["done_reason"]) == (3, "length")
    params = service.requests("pirate:latest")[-1]["params"]
    assert params["temperature"] == 0.5
    whole = service.generate(model="pirate", options={"num_predict": 5, "temperature": 0}).json()
    assert whole["eval_count"] == 5
    assert service.requests("pirate:latest")[-1]["params"]["temperature"] == 0


@pytest.mark.compat("POST /api/create", "from a model: licence", "same")
@pytest.mark.compat("POST /api/show", "modelfile", "same", "with a Jinja template")
@pytest.mark.compat("POST /api/show", "parameters: a name, spaces, a value on each line", "same")
def test_show_tells_all_of_it(client, pirate):
    shown = client.post("/api/show", json={"model": "pirate"}).json()
    assert shown["system"] == "Talk like a pirate."
    assert shown["template"] == SHOUTING
    assert shown["license"] == "First.\nSecond."
    assert [m["content"] for m in shown["messages"]] == ["Who are you?", "Arr."]
    found = [PARAMETER.fullmatch(line).groups() for line in shown["parameters"].splitlines()]
    assert found == [
        ("temperature", "0.5"),
        ("stop", r'"\n\n"'),
        ("stop", r'"a \"b\""'),
        ("num_predict", "3"),
    ]
    modelfile = shown["modelfile"]
    assert modelfile.startswith("FROM pirate:latest\n")
    for part in (
        f'TEMPLATE """{SHOUTING}"""',
        'SYSTEM """Talk like a pirate."""',
        'MESSAGE assistant """Arr."""',
        r'PARAMETER stop                           "\n\n"',
        'LICENSE """First.\nSecond."""',
    ):
        assert part in modelfile


@pytest.mark.compat("POST /api/create", "stream: false", "same")
def test_an_answer_without_a_stream_is_the_last_line(service, client):
    body = {"model": "whole", "from": "tiny", "stream": False}
    response = client.post("/api/create", json=body)
    assert response.json() == {"status": "success"}
    assert response.headers["content-type"].startswith("application/json")
    assert service.store.get("whole").files == service.store.get("tiny").files
    service.store.delete("whole")


@pytest.mark.compat("POST /api/create", "over an existing model", "same")
def test_a_model_that_is_replaced_answers_anew(service, client):
    install_tiny(service.store, "mine")
    assert service.generate(model="mine").status_code == 200
    before = service.engine("mine:latest")
    body = {"model": "MINE", "from": "Mine", "system": "Other.", "stream": False}
    assert client.post("/api/create", json=body).status_code == 200
    assert service.store.get("mine").system == "Other."
    assert service.generate(model="mine").json()["response"] == ANSWER
    after = service.engine("mine:latest")
    assert after["pid"] != before["pid"]
    assert after["digest"] != before["digest"]
    client.request("DELETE", "/api/delete", json={"model": "mine"})
    until(lambda: service.engine("mine:latest") is None)


def test_a_template_may_want_more_than_a_message(service, client):
    template = "{{ raise_exception('no') if not messages[1] }}{{ messages[1].content }}"
    body = {"model": "strict", "from": "tiny", "template": template, "stream": False}
    assert client.post("/api/create", json=body).status_code == 200
    service.store.delete("strict")


def test_a_template_can_give_a_model_tools_and_thinking(service, client):
    template = "{% if tools %}{{ tools | tojson }}{% endif %}<think>{{ messages[0].content }}"
    body = {"model": "able", "from": "tiny", "template": template, "stream": False}
    assert client.post("/api/create", json=body).status_code == 200
    shown = client.post("/api/show", json={"model": "able"}).json()
    assert {"tools", "thinking"} <= set(shown["capabilities"])
    service.store.delete("able")


def send(client, content):
    """Upload bytes and return their digest."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert client.post(f"/api/blobs/{digest}", content=content).status_code in (200, 201)
    return digest


@pytest.mark.compat("POST /api/create", "from an uploaded GGUF file", "same", "by import")
@pytest.mark.compat("POST /api/show", "verbose: metadata and tensors of a GGUF file", "same")
def test_an_uploaded_gguf_becomes_a_model(service, client):
    digest = send(client, gguf_files.tiny_llama())
    status, lines = service.lines(
        "/api/create", model="up", files={"a.gguf": digest}, system="S", parameters={"seed": 1}
    )
    assert status == 200
    said = [line["status"] for line in lines]
    assert f"creating new layer {digest}" in said
    assert said[-2:] == ["writing manifest", "success"]
    shown = client.post("/api/show", json={"model": "up"}).json()
    assert (shown["details"]["format"], shown["system"]) == ("gguf", "S")
    assert "tensors" not in shown
    shown = client.post("/api/show", json={"model": "up", "verbose": True}).json()
    assert {"name", "type", "shape"} == shown["tensors"][0].keys()
    assert len(shown["model_info"]["tokenizer.ggml.tokens"]) > 5
    assert service.generate(model="up").json()["response"] == ANSWER
    assert client.head(f"/api/blobs/{digest}").status_code == 200
    client.request("DELETE", "/api/delete", json={"model": "up"})
    until(lambda: client.head(f"/api/blobs/{digest}").status_code == 404)


@pytest.mark.compat("POST /api/create", "from uploaded safetensors", "same")
def test_uploaded_safetensors_become_a_model(service, client, tmp_path):
    files = {
        path.name: send(client, path.read_bytes()) for path in tiny_model(tmp_path / "t").iterdir()
    }
    body = {"model": "st", "files": files, "stream": False}
    assert client.post("/api/create", json=body).json() == {"status": "success"}
    assert service.generate(model="st").json()["response"] == ANSWER
    client.request("DELETE", "/api/delete", json={"model": "st"})


DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.compat("POST /api/create", "errors of the request", "same", "400 in Ollama's words")
@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"model": ""}, "invalid model name"),
        ({"model": "x!"}, "invalid model name"),
        ({"from": "x!"}, "invalid model name"),
        ({"from": "file:/etc/passwd"}, "invalid model name"),
        ({"from": "file:/etc/ssl/passwd"}, "invalid model name"),
        ({"from": None}, "neither 'from' or 'files' was specified"),
        ({"from": ""}, "neither 'from' or 'files' was specified"),
        ({"from": None, "files": {}}, "no files provided to convert"),
        ({"files": {"a.gguf": DIGEST}}, "Both `from` and `files`"),
        ({"from": None, "files": {"/a.gguf": DIGEST}}, "file path must be relative"),
        ({"from": None, "files": {"../a.gguf": DIGEST}}, "file path must be relative"),
        ({"from": None, "files": {"a.gguf": "sha256:0"}}, "invalid digest format"),
        ({"from": None, "files": {"a.gguf": 1}}, "json: cannot unmarshal"),
        ({"from": None, "files": {"a.gguf": DIGEST}}, f'blob "{DIGEST}" not found'),
        ({"files": "a"}, "json: cannot unmarshal string"),
        ({"license": 1}, "json: cannot unmarshal `license`"),
        ({"license": [1]}, "json: cannot unmarshal `license`"),
        ({"parameters": []}, "json: cannot unmarshal array"),
        ({"messages": [{"content": "x"}]}, "Each message needs a `role`"),
        ({"messages": [{"role": "user", "images": ["aGk="]}]}, "A model's own messages are text"),
        ({"template": "{% if %}"}, "template error"),
        ({"template": "{{ prompt }}"}, "template error: the template leaves out what the user"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_done(service, client, fields, text):
    before = service.store.list()
    response = client.post("/api/create", json={"model": "wrong", "from": "tiny", **fields})
    assert response.status_code == 400
    assert error_of(response).startswith(text)
    assert service.store.list() == before


@pytest.mark.compat(
    "POST /api/create", "parameters: a wrong type or value", "better", "400, where Ollama keeps it"
)
@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"temperature": "hot"}, 'option "temperature" must be of type float32'),
        ({"top_p": 2}, 'option "top_p" must be between 0 and 1'),
        ({"stop": 1}, 'option "stop" must be of an array of strings'),
    ],
)
def test_a_wrong_parameter_is_said(client, parameters, text):
    body = {"model": "wrong", "from": "tiny", "parameters": parameters}
    response = client.post("/api/create", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith(text)


@pytest.mark.compat(
    "POST /api/create", "template in Go's language", "not supported", "400; Jinja is taken"
)
@pytest.mark.parametrize(
    "template",
    [
        "{{ .System }} {{ .Prompt }}",
        "{{- range .Messages }}{{ .Content }}{{ end }}",
        "{{ if .System }}x{{ end }}",
    ],
)
def test_a_go_template_is_refused_in_words(client, template):
    body = {"model": "wrong", "from": "tiny", "template": template}
    response = client.post("/api/create", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith("A Go template is not supported")


@pytest.mark.compat("POST /api/create", "adapters", "not supported", "400, as in Ollama")
def test_adapters_are_refused_in_words(client):
    body = {"model": "wrong", "from": "tiny", "adapters": {"a.gguf": DIGEST}}
    response = client.post("/api/create", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith("LoRA adapters are no longer supported")


@pytest.mark.compat("POST /api/create", "quantize: a kind that is not there", "same", "400")
def test_other_quantisations_are_refused_in_words(client):
    body = {"model": "wrong", "from": "tiny", "quantize": "q4_K_M"}
    response = client.post("/api/create", json=body)
    assert response.status_code == 400
    assert error_of(response).startswith("unsupported quantization type")


@pytest.mark.compat(
    "POST /api/create", "quantize: q4_0", "better", "Llama's architecture; of any GGUF file"
)
def test_an_upload_and_a_model_become_four_bit(service, client):
    digest = send(client, gguf_files.tiny_llama())
    body = {"model": "up", "files": {"a.gguf": digest}, "system": "S"}
    assert service.lines("/api/create", **body)[1][-1] == {"status": "success"}
    status, lines = service.lines("/api/create", model="four", quantize="Q4_0", **{"from": "up"})
    assert (status, lines[-1]) == (200, {"status": "success"})
    assert any(line["status"] == "quantizing to q4_0" for line in lines)
    service.lines("/api/create", **{**body, "model": "five", "quantize": "q4_0"})
    four, five = service.store.get("four"), service.store.get("five")
    assert four.encoding == five.encoding == "q4_0"
    assert four.system == "S"
    assert {f.digest for f in four.files} == {f.digest for f in five.files}
    shown = client.post("/api/show", json={"model": "four"}).json()
    assert shown["details"]["quantization_level"] == "Q4_0"
    for name in ("up", "four", "five"):
        service.store.delete(name)


def test_a_model_without_a_gguf_file_is_not_quantised(service, client):
    body = {"model": "wrong", "from": "tiny", "quantize": "q4_0", "stream": False}
    assert "did not come as one" in error_of(client.post("/api/create", json=body))


@pytest.mark.parametrize("field", ["remote_host", "renderer", "parser", "info", "draft_files"])
def test_what_is_not_obeyed_is_not_ignored(client, field):
    response = client.post("/api/create", json={"model": "wrong", "from": "tiny", field: "x"})
    assert response.status_code == 400
    assert "not supported" in error_of(response)


@pytest.mark.compat("POST /api/create", "from a model that is not here yet", "same", "pulls it")
def test_a_missing_origin_is_pulled(thread, monkeypatch):
    with thread() as service:
        pulled = []

        def pull(store, text, *, name, progress, cancelled, policy, quantize):
            pulled.append((text, name))
            return install_tiny(store, name)

        with monkeypatch.context() as patch:
            patch.setattr("hyperllama_nb.models.store.Store.pull", pull)
            body = {"model": "mine", "from": "other:1", "system": "S", "stream": False}
            assert service.client.post("/api/create", json=body).status_code == 200
        assert pulled == [("other:1", "other:1")]
        assert service.store.get("mine").system == "S"
        response = service.client.post("/api/create", json={"model": "mine", "from": "nobody/has"})
        assert "error" in response.json()
