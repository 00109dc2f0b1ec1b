"""The simulator itself, without the proxy: the official SDKs of the three providers find in it the
provider that they expect, and their types have a place for every field that it sends.
"""

import json
import urllib.request

import anthropic
import openai
import pytest
from google import genai
from google.genai import errors, types

from proxy import CLIENT_KEY, simulator
from samples import ASK, HELLO, PARAMETERS, RESULTS, SAID, TOOLS, Person

ANSWER = f"Hello from sim-reasoning. You said: {SAID}"


@pytest.fixture(scope="module")
def at():
    """A simulator of its own: what is refused here is no mistake of the proxy."""
    process, addresses = simulator()
    yield addresses
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def at_openai(at):
    return openai.OpenAI(
        base_url=at["openai"] + "/v1", api_key=CLIENT_KEY, max_retries=0, timeout=20
    )


@pytest.fixture(scope="module")
def at_anthropic(at):
    return anthropic.Anthropic(
        base_url=at["anthropic"], api_key=CLIENT_KEY, max_retries=0, timeout=20
    )


@pytest.fixture(scope="module", params=["v1", "v1beta"])
def at_gemini(at, request):
    options = types.HttpOptions(base_url=at["gemini"], api_version=request.param)
    return genai.Client(api_key=CLIENT_KEY, http_options=options)


def unknown(value, allowed=(), path=""):
    """Fields that an SDK's model has kept although its type does not have them."""
    found = []
    if hasattr(value, "model_extra"):
        for key in value.model_extra or {}:
            if key not in allowed:
                found.append(f"{path}.{key}")
        for key in type(value).model_fields:
            found += unknown(getattr(value, key, None), allowed, f"{path}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            found += unknown(item, allowed, f"{path}[{at}]")
    return found


def test_openai(at_openai):
    ask = {"model": "sim-reasoning", "messages": HELLO, "logprobs": True, "top_logprobs": 1, "n": 2}
    whole = at_openai.chat.completions.create(**ask)
    assert [choice.message.content for choice in whole.choices] == [ANSWER] * 2
    with at_openai.chat.completions.stream(**ask, stream_options={"include_usage": True}) as stream:
        chunks = [event.chunk for event in stream if event.type == "chunk"]
        final = stream.get_final_completion()
    assert final.choices[1].message.content == ANSWER
    assert final.usage == whole.usage
    # The one field that OpenAI's own API does not have: servers like it do, and `sim-…` is one.
    assert unknown(whole, {"reasoning_content"}) == unknown(chunks, {"reasoning_content"}) == []
    assert [model.id for model in at_openai.models.list()].count("gpt-5") == 1
    with pytest.raises(openai.AuthenticationError):
        at_openai.with_options(api_key="wrong").chat.completions.create(**ask)


def test_anthropic(at_anthropic):
    tools = [{"name": name, "input_schema": PARAMETERS} for name in TOOLS]
    ask = {"model": "sim-reasoning", "max_tokens": 99, "tools": tools}
    with at_anthropic.messages.stream(messages=ASK, **ask) as stream:
        first = stream.get_final_message()
    whole = at_anthropic.messages.create(messages=ASK, **ask)
    # Calls have ids of their own, and the rest is the same.
    assert [block.type for block in first.content] == [block.type for block in whole.content]
    assert first.content[0] == whole.content[0] and unknown(whole) == []
    results = [
        {"type": "tool_result", "tool_use_id": block.id, "content": f"result of {block.name}"}
        for block in first.content if block.type == "tool_use"
    ]
    turns = [{"role": "assistant", "content": first.content}, {"role": "user", "content": results}]
    last = at_anthropic.messages.create(messages=[*ASK, *turns], **ask)
    assert last.content[-1].text == RESULTS
    forged = [block.model_copy() for block in first.content]
    forged[0].signature = "forged"
    turns[0]["content"] = forged
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        at_anthropic.messages.create(messages=[*ASK, *turns], **ask)
    assert "claude-sonnet-5-5" in [model.id for model in at_anthropic.models.list()]
    with pytest.raises(anthropic.AuthenticationError):
        at_anthropic.with_options(api_key="wrong").messages.create(messages=ASK, **ask)


def test_gemini(at_gemini):
    declared = [{"name": name, "parameters_json_schema": PARAMETERS} for name in TOOLS]
    config = types.GenerateContentConfig(
        tools=[{"function_declarations": declared}],
        automatic_function_calling={"disable": True},
        thinking_config={"include_thoughts": True},
    )
    asked = types.Content(role="user", parts=[{"text": ASK[0]["content"]}])
    ask = {"model": "sim-ok", "config": config}
    first = at_gemini.models.generate_content(contents=[asked], **ask)
    assert [call.name for call in first.function_calls] == TOOLS
    chunks = list(at_gemini.models.generate_content_stream(contents=[asked], **ask))
    assert [call.name for chunk in chunks for call in chunk.function_calls or []] == TOOLS
    assert chunks[-1].usage_metadata == first.usage_metadata
    results = [
        types.Part.from_function_response(name=name, response={"output": f"result of {name}"})
        for name in TOOLS
    ]
    turns = [asked, first.candidates[0].content, types.Content(role="user", parts=results)]
    assert at_gemini.models.generate_content(contents=turns, **ask).text == RESULTS
    for part in first.candidates[0].content.parts:
        part.thought_signature = None
    with pytest.raises(errors.ClientError, match="thought_signature"):
        at_gemini.models.generate_content(contents=turns, **ask)


def test_gemini_structured_output_listing_and_keys(at_gemini, at):
    config = types.GenerateContentConfig(
        response_mime_type="application/json", response_schema=Person
    )
    answer = at_gemini.models.generate_content(model="sim-ok", contents=SAID, config=config)
    assert isinstance(answer.parsed, Person)
    assert "models/gemini-3-flash" in [model.name for model in at_gemini.models.list()]
    wrong = genai.Client(
        api_key="wrong", http_options=types.HttpOptions(base_url=at["gemini"])
    )
    with pytest.raises(errors.ClientError, match="API key not valid"):
        wrong.models.generate_content(model="sim-ok", contents=SAID)


def test_every_field_of_geminis_answers_is_one_of_googles(at):
    body = json.dumps({
        "contents": [{"role": "user", "parts": [{"text": SAID}]}],
        "generationConfig": {
            "responseLogprobs": True, "logprobs": 2, "thinkingConfig": {"includeThoughts": True},
        },
    })
    request = urllib.request.Request(
        at["gemini"] + "/v1/models/sim-cached-50:generateContent", body.encode(),
        {"content-type": "application/json", "x-goog-api-key": CLIENT_KEY},
    )
    answer = json.load(urllib.request.urlopen(request))
    # Google's types refuse a field that they do not have.
    types.GenerateContentResponse.model_validate(answer)
