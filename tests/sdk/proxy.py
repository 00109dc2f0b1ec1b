"""Starts the simulator and the proxy from the built binary, with a route for each upstream model."""

import json
import os
import re
import subprocess
import time

BINARY = os.environ["TRUNKLINE_BIN"]
DIALECTS = ["openai", "anthropic", "gemini"]

# What must never be shown: the providers' keys, the client's key, and every prompt.
PROVIDER_KEY, CLIENT_KEY, PROMPT = "sk-canary-provider", "sk-canary-client", "canary-prompt"

# Upstream models that every dialect has.
MODELS = [
    "sim-ok", "sim-reasoning", "sim-refusal", "sim-cached-50",
    "sim-400", "sim-401", "sim-403", "sim-404", "sim-429", "sim-429-after-9", "sim-500", "sim-503",
    "sim-529", "sim-reset", "sim-silent", "sim-cut-3", "sim-error-3", "sim-malformed-3", "sim-noend",
    "sim-stall-3",
]
# Real names, whose ways the simulator knows.
REAL = {"openai": "gpt-5", "anthropic": "claude-sonnet-5-5", "gemini": "gemini-3-flash"}


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
            "models": models, "timeouts": {"streamIdle": "1s", "firstToken": "1s", "headers": "1s"},
            "targets": [
                {"name": f"t{at}", "credentialRef": {"name": of}, "model": model, "tier": at}
                for at, (of, model) in enumerate(targets)
            ],
        },
    }


def manifests(at):
    """All objects, for simulated providers at these addresses."""
    yield {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys"},
           "stringData": {"k": PROVIDER_KEY}}
    yield credential("openai", "OpenAICompatible", at["openai"] + "/v1")
    yield credential("anthropic", "AnthropicCompatible", at["anthropic"])
    yield credential("gemini", "GeminiCompatible", at["gemini"])
    for dialect in DIALECTS:
        for model in MODELS:
            yield route(f"{dialect}-{model}", [f"{dialect}/{model}"], [(dialect, model)])
        yield route(f"{dialect}-real", [f"{dialect}/real"], [(dialect, REAL[dialect])])
        for fault in ["sim-500", "sim-529", "sim-reset", "sim-429", "sim-silent"]:
            targets = [(dialect, fault), ("anthropic", "sim-ok")]
            yield route(f"{dialect}-{fault}-then", [f"{dialect}/{fault}/then-ok"], targets)


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


ANYWHERE = "127.0.0.1:0"


def simulator(*arguments):
    """Starts the simulated providers; gives the process and the address of each."""
    process = subprocess.Popen(
        [BINARY, "sim", "--openai", ANYWHERE, "--anthropic", ANYWHERE, "--gemini", ANYWHERE,
         *arguments],
        stdout=subprocess.PIPE, text=True,
    )
    return process, lines(process, {name: rf"{name} (http://\S+)" for name in DIALECTS})


class Proxy:
    """Both processes, their addresses, and the files that they write."""

    def __init__(self, folder):
        self.journal_file = folder / "journal"
        self.access_log, self.log = folder / "access-log", folder / "log"
        self.sim, at = simulator("--journal", str(self.journal_file))
        config = folder / "manifests"
        config.mkdir()
        for number, thing in enumerate(manifests(at)):
            (config / f"{number}.json").write_text(json.dumps(thing))
        with self.log.open("wb") as log:
            self.run = subprocess.Popen(
                [BINARY, "run", "-f", str(config), "--listen", ANYWHERE, "--admin-listen", ANYWHERE,
                 "--allow-private-endpoints", "--access-log", str(self.access_log)],
                stdout=subprocess.PIPE, stderr=log, text=True, env={**os.environ, "RUST_LOG": "trace"},
            )
        urls = lines(self.run, {"client": r"client API\s+(http://\S+)", "admin": r"admin\s+(http://\S+)"})
        self.client, self.admin = urls["client"], urls["admin"]

    def journal(self):
        """Every request that reached a provider."""
        return [json.loads(line) for line in self.journal_file.read_text().splitlines()]

    def stop(self):
        self.run.terminate()
        code = self.run.wait(timeout=20)
        self.sim.kill()
        self.sim.wait()
        assert code == 0, "the proxy drains and ends well"
