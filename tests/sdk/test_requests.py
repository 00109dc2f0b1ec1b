"""Judges all that the other tests have caused: what was sent to providers, and what was shown."""

import urllib.request

import pydantic
import pytest

from proxy import CLIENT_KEY, DIALECTS, PROMPT, PROVIDER_KEY
from sdk_types import judge

pytestmark = pytest.mark.last


def test_the_judges_refuse_what_does_not_exist():
    good = {
        "openai": {"model": "m", "messages": [{"role": "user", "content": "x"}]},
        "anthropic": {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]},
        "gemini": {"contents": [{"role": "user", "parts": [{"text": "x"}]}]},
    }
    for provider, body in good.items():
        judge(provider, body)
        for key in ["messages", "contents"]:
            if key in body:
                bad = {**body, key: [{**body[key][0], "nonsense": 1}]}
        for wrong in [bad, {**body, "nonsense": 1}]:
            with pytest.raises((pydantic.ValidationError, AssertionError)):
                judge(provider, wrong)


@pytest.mark.parametrize("provider", DIALECTS)
def test_every_request_to_a_provider_has_the_providers_own_types(proxy, provider):
    bodies = [entry["body"] for entry in proxy.journal() if entry["provider"] == provider]
    assert len(bodies) > 30
    wrong = []
    for body in bodies:
        try:
            judge(provider, body)
        except (pydantic.ValidationError, AssertionError) as error:
            wrong.append(f"{error}\n{body}")
    assert not wrong, f"{len(wrong)} of {len(bodies)}:\n" + "\n\n".join(wrong[:3])


def test_a_provider_refuses_nothing_but_what_it_was_told_to(proxy):
    """The simulator is as strict as the providers: a refusal is a mistake of the proxy."""
    told = ["sim-400", "'test': 'refused'"]
    refused = [
        entry for entry in proxy.journal()
        if entry["status"] == 400 and not any(mark in str(entry) for mark in told)
    ]
    assert not refused, refused[:3]


def test_no_key_of_a_client_reaches_a_provider(proxy):
    assert CLIENT_KEY not in proxy.journal_file.read_text()


def test_no_key_and_no_prompt_is_shown(proxy):
    metrics = urllib.request.urlopen(proxy.admin + "/metrics").read().decode()
    assert 'trunkline_requests_total{api="ChatCompletions"' in metrics
    access_log, log = proxy.access_log.read_text(), proxy.log.read_text()
    assert access_log and log
    for canary in [PROVIDER_KEY, CLIENT_KEY, PROMPT]:
        for name, text in {"metrics": metrics, "access log": access_log, "log": log}.items():
            assert canary not in text, f"{canary} in the {name}"
