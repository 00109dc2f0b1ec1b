"""Starts the simulator and the proxy from the built binary, with a route for each upstream model."""

import json
import os
import re
import subprocess
import time

import pytest

BINARY = os.environ["TRUNKLINE_BIN"]
DIALECTS = ["openai", "anthropic", "gemini"]
MODELS = [
    "sim-ok", "sim-429", "sim-500", "sim-529", "sim-400", "sim-reset", "sim-cut-3", "sim-error-3",
    "sim-malformed-3", "sim-noend",
]


def credential(name, provider, url):
    return {
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "ProviderCredential",
        "metadata": {"name": name},
        "spec": {
            "provider": provider, "endpoint": {"baseURL": url},
            "auth": {"apiKey": {"keys": [{"name": "k1", "secretRef": {"name": "keys", "key": "k"}}]}},
        },
    }


def route(name, models, targets):
    return {
        "apiVersion": "trunkline.dev/v1alpha1", "kind": "ModelRoute", "metadata": {"name": name},
        "spec": {
            "models": models, "timeouts": {"streamIdle": "2s"},
            "targets": [
                {"name": f"t{at}", "credentialRef": {"name": of}, "model": model, "tier": at}
                for at, (of, model) in enumerate(targets)
            ],
        },
    }


def lines(process, patterns):
    """Reads lines until each pattern has been seen; gives the first group of each."""
    found = {}
    deadline = time.monotonic() + 20
    while len(found) < len(patterns) and time.monotonic() < deadline:
        line = process.stdout.readline()
        for name, pattern in patterns.items():
            match = re.search(pattern, line)
            if match:
                found[name] = match.group(1)
    assert len(found) == len(patterns), f"the process printed only {found}"
    return found


@pytest.fixture(scope="session")
def proxy(tmp_path_factory):
    anywhere = "127.0.0.1:0"
    sim = subprocess.Popen(
        [BINARY, "sim", "--openai", anywhere, "--anthropic", anywhere, "--gemini", anywhere],
        stdout=subprocess.PIPE, text=True,
    )
    at = lines(sim, {name: rf"{name} (http://\S+)" for name in DIALECTS})
    objects = [
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
         "stringData": {"k": "sk-canary-never-shown"}},
        credential("openai", "OpenAICompatible", at["openai"] + "/v1"),
        credential("anthropic", "AnthropicCompatible", at["anthropic"]),
        credential("gemini", "GeminiCompatible", at["gemini"]),
    ]
    for dialect in DIALECTS:
        for model in MODELS:
            objects.append(route(f"{dialect}-{model}", [f"{dialect}/{model}"], [(dialect, model)]))
        for fault in ["sim-500", "sim-529", "sim-reset", "sim-429"]:
            targets = [(dialect, fault), ("anthropic", "sim-ok")]
            objects.append(route(f"{dialect}-{fault}-then", [f"{dialect}/{fault}/then-ok"], targets))
    folder = tmp_path_factory.mktemp("manifests")
    for number, thing in enumerate(objects):
        (folder / f"{number}.json").write_text(json.dumps(thing))
    run = subprocess.Popen(
        [BINARY, "run", "-f", str(folder), "--listen", anywhere, "--admin-listen", anywhere,
         "--allow-private-endpoints", "--access-log", "off"],
        stdout=subprocess.PIPE, text=True,
    )
    urls = lines(run, {"client": r"client API\s+(http://\S+)", "admin": r"admin\s+(http://\S+)"})
    yield urls
    run.terminate()
    assert run.wait(timeout=20) == 0, "the proxy drains and ends well"
    sim.kill()
