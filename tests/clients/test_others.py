"""langchain, litellm, curl, and Ollama's package for JavaScript."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import litellm
import pytest
from langchain_ollama import ChatOllama, OllamaEmbeddings

from tests.clients.conftest import ANSWER, EMBEDDER, EXACT, MODEL, QUESTION

MESSAGES = [{"role": "user", "content": QUESTION}]

SCRIPT = """
import { Ollama } from "ollama";
const client = new Ollama({
  host: process.env.OLLAMA_HOST,
  headers: { Authorization: `Bearer ${process.env.OLLAMA_API_KEY}` },
});
const model = process.argv[2];
const messages = [{ role: "user", content: process.argv[3] }];
const options = { temperature: 0, num_predict: 24 };
const whole = await client.chat({ model, messages, options });
let streamed = "";
for await (const part of await client.chat({ model, messages, options, stream: true })) {
  streamed += part.message.content;
}
const names = (await client.list()).models.map((found) => found.name);
const shown = await client.show({ model });
await client.copy({ source: model, destination: "javascript:1" });
await client.delete({ model: "javascript:1" });
console.log(JSON.stringify({
  whole: whole.message.content, streamed, names, family: shown.details.family,
}));
"""


@pytest.mark.compat("POST /api/chat", "langchain-ollama", "same")
def test_langchain(host):
    chat = ChatOllama(
        model=MODEL, base_url=host, temperature=0, num_predict=24, validate_model_on_init=True
    )
    assert chat.invoke(QUESTION).content == ANSWER
    assert "".join(chunk.content for chunk in chat.stream(QUESTION)) == ANSWER
    vectors = OllamaEmbeddings(model=EMBEDDER, base_url=host).embed_documents(["a", "b"])
    assert [len(vector) for vector in vectors] == [384, 384]


@pytest.mark.compat("POST /api/chat", "litellm", "same")
def test_litellm(host, key):
    arguments = {
        "model": f"ollama_chat/{MODEL}",
        "messages": MESSAGES,
        "api_base": host,
        "api_key": key,
        "temperature": 0,
        "max_tokens": 24,
    }
    assert litellm.completion(**arguments).choices[0].message.content == ANSWER
    chunks = litellm.completion(**arguments, stream=True)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert text == ANSWER


def curl(*arguments):
    command = ["curl", "--silent", "--show-error", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.mark.compat("POST /api/generate", "curl", "same")
def test_curl(host, key):
    body = json.dumps({"model": MODEL, "prompt": QUESTION, "options": EXACT})
    bearer = ("-H", f"Authorization: Bearer {key}")
    lines = [
        json.loads(line)
        for line in curl(*bearer, "-d", body, f"{host}/api/generate").split("\n")
        if line
    ]
    assert "".join(line["response"] for line in lines) == ANSWER
    assert (
        curl("-o", "/dev/null", "-w", "%{http_code} %{redirect_url}", f"{host}/api/tags") == "401 "
    )
    assert "401" in curl(
        "-o", "/dev/null", "-w", "%{http_code}", "-d", body, f"{host}/api/generate"
    )


@pytest.mark.compat("POST /api/chat", "ollama for JavaScript", "same")
def test_javascript(tmp_path):
    modules = os.environ.get("HYPERLLAMA_TEST_NODE_MODULES", "")
    if not shutil.which("node") or not Path(modules).is_dir():
        pytest.fail("HYPERLLAMA_TEST_NODE_MODULES is not set. Run these tests with `make test`.")
    (tmp_path / "node_modules").symlink_to(modules)
    script = tmp_path / "chat.mjs"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["node", str(script), MODEL, QUESTION], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["whole"] == found["streamed"] == ANSWER
    assert MODEL in found["names"]
    assert found["family"] == "llama"
