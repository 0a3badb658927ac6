"""Asking `/v1` as an OpenAI client does, without one."""

import json

CHAT = "/v1/chat/completions"

HI = [{"role": "user", "content": "Hi"}]


def chat(client, **fields):
    """Return the response to a chat."""
    body = {"model": "tiny", "messages": HI, **fields}
    return client.post(CHAT, json=body)


def complete(client, **fields):
    """Return the response to a completion."""
    return client.post("/v1/completions", json={"model": "tiny", "prompt": "Hi", **fields})


def chunks(client, path, **fields):
    """Return the events of a stream, the last one as it is if it is not JSON, and the headers."""
    body = {"model": "tiny", "stream": True, **fields}
    with client.stream("POST", path, json=body) as response:
        assert response.status_code == 200
        data = response.read()
    assert data.endswith(b"\n\n")
    events = data[:-2].split(b"\n\n")
    assert all(event.startswith(b"data: ") for event in events)
    found = [event.removeprefix(b"data: ").decode() for event in events]
    return [text if text == "[DONE]" else json.loads(text) for text in found], response.headers


def text_of(parts):
    """Return the text of a chat's or a completion's chunks."""
    choices = [choice for part in parts for choice in part["choices"]]
    return "".join(c["delta"].get("content", "") if "delta" in c else c["text"] for c in choices)


def error(response, status):
    """Return the error in the envelope of a response, which has nothing else."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"].startswith("application/json")
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"message", "type", "param", "code"}
    assert body["error"]["param"] is None
    return body["error"]
