"""The official Anthropic SDK against the proxy, on every upstream dialect."""

import json
import urllib.request

import anthropic
import pytest

from proxy import CLIENT_KEY, DIALECTS, PROMPT
from samples import ANSWER, ASK, HELLO, PARAMETERS, PNG, RESULTS, SAID, TOKENS, TOOLS, URL, Person

every = pytest.mark.parametrize("to", DIALECTS)


def tools():
    return [{"name": n, "input_schema": PARAMETERS} for n in TOOLS]


def turns(asked, first):
    """The conversation after a first answer with calls, replayed as the SDK's own objects."""
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result of {block.name}"}
        for block in first.content if block.type == "tool_use"
    ]
    return [
        *asked, {"role": "assistant", "content": first.content},
        {"role": "user", "content": results},
    ]


def said(answer):
    return "".join(block.text for block in answer.content if block.type == "text")


@every
def test_message(claude, to):
    answer = claude.messages.create(model=f"{to}/sim-ok", max_tokens=99, messages=HELLO)
    assert (said(answer), answer.stop_reason) == (ANSWER, "end_turn")
    assert answer.usage.input_tokens > 0 and answer.usage.output_tokens == TOKENS


@every
def test_system_and_several_turns(claude, to):
    messages = [*HELLO, {"role": "assistant", "content": "Hello."}, *HELLO]
    answer = claude.messages.create(
        model=f"{to}/sim-ok", max_tokens=99, messages=messages, system="Be brief."
    )
    assert said(answer) == ANSWER


@every
def test_stream(claude, to):
    with claude.messages.stream(model=f"{to}/sim-ok", max_tokens=99, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == said(final) == ANSWER
    assert (final.stop_reason, final.usage.output_tokens) == ("end_turn", TOKENS)


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_parallel_tools_and_their_results(claude, to, streamed):
    ask = {"model": f"{to}/sim-ok", "max_tokens": 99, "tools": tools()}
    if streamed:
        with claude.messages.stream(messages=ASK, **ask) as stream:
            first = stream.get_final_message()
    else:
        first = claude.messages.create(messages=ASK, **ask)
    calls = [(block.name, block.input) for block in first.content if block.type == "tool_use"]
    assert calls == [(name, {"name": "x"}) for name in TOOLS]
    assert first.stop_reason == "tool_use"
    last = claude.messages.create(messages=turns(ASK, first), **ask)
    assert said(last) == RESULTS


@every
def test_tool_choice(claude, to):
    ask = {"model": f"{to}/sim-ok", "max_tokens": 99, "tools": tools(), "messages": HELLO}
    answer = claude.messages.create(tool_choice={"type": "tool", "name": "beta"}, **ask)
    assert [block.name for block in answer.content if block.type == "tool_use"] == ["beta"]


@every
def test_structured_output_is_parsed(claude, to):
    answer = claude.messages.parse(
        model=f"{to}/sim-ok", max_tokens=99, messages=HELLO, output_format=Person
    )
    assert isinstance(answer.parsed_output, Person)


@every
def test_an_image_as_data(claude, to):
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    parts = [{"type": "text", "text": SAID}, {"type": "image", "source": source}]
    answer = claude.messages.create(
        model=f"{to}/sim-ok", max_tokens=99, messages=[{"role": "user", "content": parts}]
    )
    assert said(answer) == f"{ANSWER} I see 1 image."


@every
def test_an_image_by_url_where_the_provider_fetches_it(claude, to):
    parts = [
        {"type": "text", "text": SAID},
        {"type": "image", "source": {"type": "url", "url": URL}},
    ]
    ask = {
        "model": f"{to}/sim-ok", "max_tokens": 99,
        "messages": [{"role": "user", "content": parts}],
    }
    if to == "gemini":
        with pytest.raises(anthropic.BadRequestError):
            claude.messages.create(**ask)
    else:
        assert said(claude.messages.create(**ask)) == f"{ANSWER} I see 1 image."


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_is_shown_and_replayed(proxy, claude, to, streamed):
    mark = f"thinking-{to}-{streamed}"
    asked = [{"role": "user", "content": f"use alpha and beta {PROMPT} {mark}"}]
    ask = {
        "model": f"{to}/sim-ok", "max_tokens": 4000, "tools": tools(),
        "thinking": {"type": "enabled", "budget_tokens": 2000},
    }
    if streamed:
        with claude.messages.stream(messages=asked, **ask) as stream:
            first = stream.get_final_message()
    else:
        first = claude.messages.create(messages=asked, **ask)
    assert first.content[0].type == "thinking"
    assert first.content[0].thinking.startswith("Let me think about this")
    last = claude.messages.create(messages=turns(asked, first), **ask)
    assert said(last) == RESULTS
    sent = [e["body"] for e in proxy.journal() if mark in str(e["body"])][-1]
    if to == "anthropic":
        thought = sent["messages"][1]["content"][0]
        assert thought["signature"] == first.content[0].signature
    if to == "gemini":
        calls = [part for part in sent["contents"][1]["parts"] if "functionCall" in part]
        assert len(calls[0]["thoughtSignature"]) > 20 and "skip" not in calls[0]["thoughtSignature"]


@every
def test_real_models_take_what_is_said_to_them(claude, to):
    answer = claude.messages.create(
        model=f"{to}/real", max_tokens=500, messages=HELLO, thinking={"type": "adaptive"}
    )
    assert PROMPT in said(answer)


@every
def test_cached_tokens_are_not_input_tokens(claude, to):
    answer = claude.messages.create(model=f"{to}/sim-cached-50", max_tokens=99, messages=HELLO)
    assert answer.usage.cache_read_input_tokens > 0 and answer.usage.input_tokens > 0


@every
def test_limits_and_stops_end_an_answer(claude, to):
    ask = {"model": f"{to}/sim-ok", "messages": HELLO}
    short = claude.messages.create(max_tokens=2, **ask)
    assert (short.stop_reason, said(short)) == ("max_tokens", "Hello from ")
    stopped = claude.messages.create(max_tokens=99, stop_sequences=["You"], **ask)
    assert said(stopped) == "Hello from sim-ok. "


@pytest.mark.parametrize("to", ["anthropic", "gemini"])
def test_a_refusal_is_no_answer(claude, to):
    answer = claude.messages.create(model=f"{to}/sim-refusal", max_tokens=99, messages=HELLO)
    assert answer.stop_reason == "refusal"


def test_models_are_listed(claude):
    assert "openai/sim-ok" in [model.id for model in claude.models.list()]
    assert claude.models.retrieve("openai/sim-ok").id == "openai/sim-ok"
    with pytest.raises(anthropic.NotFoundError):
        claude.models.retrieve("no-such-model")


@every
def test_the_older_version_with_its_own_header_for_the_key(proxy, to):
    body = {"model": f"{to}/sim-ok", "max_tokens": 99, "messages": HELLO}
    headers = {
        "content-type": "application/json", "x-api-key": CLIENT_KEY,
        "anthropic-version": "2023-06-01",
    }
    url = proxy.client + "/v1/messages"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    answer = anthropic.types.Message.model_validate(json.load(urllib.request.urlopen(request)))
    assert said(answer) == ANSWER
