"""Traces, as a real OpenTelemetry Collector takes them."""

import contextlib
import json
import pathlib
import re
import socket
import subprocess
import time
import urllib.request

import openai
import pytest

from proxy import ANYWHERE, BINARY, CLIENT_KEY, PROMPT, PROVIDER_KEY, lines, manifests, simulator

TOOLS = pathlib.Path(__file__).parents[1] / "tools" / "install"
TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@contextlib.contextmanager
def collector(folder):
    """A collector; gives its address, and a function for what it has received."""
    tools = pathlib.Path(subprocess.run([TOOLS], check=True, stdout=subprocess.PIPE, text=True).stdout.strip())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = {
        "receivers": {"otlp": {"protocols": {"http": {"endpoint": f"127.0.0.1:{port}"}}}},
        "exporters": {"debug": {"verbosity": "detailed"}},
        "service": {
            "pipelines": {"traces": {"receivers": ["otlp"], "exporters": ["debug"]}},
            "telemetry": {"metrics": {"level": "none"}},
        },
    }
    received = folder / "received"
    with received.open("wb") as file:
        process = subprocess.Popen([tools / "collector", f"--config=yaml:{json.dumps(config)}"], stderr=file)
    until = time.monotonic() + 20
    while "Everything is ready" not in received.read_text():
        assert process.poll() is None and time.monotonic() < until, received.read_text()
        time.sleep(0.1)
    yield f"http://127.0.0.1:{port}", received.read_text
    process.terminate()
    process.wait(timeout=20)


def spans(text):
    """The spans in what the collector wrote."""
    for part in re.split(r"\nSpan #\d+\n", text)[1:]:
        fields = dict(re.findall(r"^    (\S[^:\n]*?)\s*: (.*)$", part, re.M))
        attributes = dict(re.findall(r"^     -> ([\w.]+): \w+\((.*)\)$", part, re.M))
        yield {**fields, "attributes": attributes, "events": re.findall(r"-> Name: (.*)", part)}


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What a collector has received, and the providers, of two requests."""
    folder = tmp_path_factory.mktemp("traces")
    sim, at = simulator("--journal", str(folder / "journal"))
    (folder / "manifests").mkdir()
    (folder / "manifests/all.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": list(manifests(at))}))
    with collector(folder) as (address, received):
        run = subprocess.Popen(
            [BINARY, "run", "-f", str(folder / "manifests"), "--listen", ANYWHERE, "--admin-listen", ANYWHERE,
             "--allow-private-endpoints", "--access-log", "off", "--otlp-endpoint", address, "--trace-percent", "0"],
            stdout=subprocess.PIPE, text=True,
        )
        urls = lines(run, {"client": r"client API\s+(http://\S+)", "admin": r"admin\s+(http://\S+)"})
        messages = [{"role": "user", "content": PROMPT}]
        with openai.OpenAI(base_url=urls["client"] + "/v1", api_key=CLIENT_KEY, max_retries=0) as client:
            for headers in [{"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"}, {}]:
                answer = client.chat.completions.create(
                    model="openai/sim-529/then-ok", messages=messages, stream=True, extra_headers=headers)
                assert list(answer)
        metrics = urllib.request.urlopen(urls["admin"] + "/metrics").read().decode()
        # What is left goes out at the end.
        run.terminate()
        assert run.wait(timeout=20) == 0
        text = received()
    sim.kill()
    sim.wait()
    journal = [json.loads(line) for line in (folder / "journal").read_text().splitlines()]
    return text, list(spans(text)), journal, metrics


def test_a_traced_request_is_a_span_with_one_below_it_for_each_attempt(seen):
    _, found, _, metrics = seen
    assert [span["Trace ID"] for span in found] == [TRACE] * 3, "and one that nobody asked to trace is not"
    request, first, second = found
    assert (request["Parent ID"], request["Kind"]) == (PARENT, "Server")
    assert request["Name"] == "chat openai/sim-529/then-ok"
    assert request["events"] == ["first token"]
    told = request["attributes"]
    assert told["gen_ai.provider.name"] == "anthropic" and told["gen_ai.response.model"] == "sim-ok"
    assert int(told["gen_ai.usage.output_tokens"]) > 0 and told["http.response.status_code"] == "200"
    assert (told["trunkline.route"], told["trunkline.target"]) == ("openai-sim-529-then", "t1")
    assert told["trunkline.request.id"].startswith("req_") and "error.type" not in told
    for attempt in [first, second]:
        assert (attempt["Parent ID"], attempt["Kind"]) == (request["ID"], "Client")
        assert attempt["attributes"]["server.address"] == "127.0.0.1"
    assert (first["attributes"]["error.type"], first["Status code"]) == ("529", "Error")
    assert (second["attributes"]["trunkline.attempt.outcome"], second["Status code"]) == ("ok", "Unset")
    assert "trunkline_traces_dropped_total 0\n" in metrics


def test_each_provider_is_told_the_span_of_its_attempt(seen):
    _, found, journal, _ = seen
    told = [entry["headers"].get("traceparent") for entry in journal]
    assert told == [f"00-{TRACE}-{span['ID']}-01" for span in found[1:]] + [None, None]
    assert [entry["headers"].get("tracestate") for entry in journal] == ["vendor=1", "vendor=1", None, None]


def test_no_span_holds_a_prompt_or_a_key(seen):
    text, found, _, _ = seen
    assert found
    assert all(secret not in text for secret in [PROMPT, PROVIDER_KEY, CLIENT_KEY])
