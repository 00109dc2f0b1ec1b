"""The official SDKs against the proxy: every client API, every upstream dialect."""

import urllib.request

import anthropic
import openai
import pytest

from conftest import DIALECTS

TOOLS = ["alpha", "beta"]
ASK = [{"role": "user", "content": "use alpha and beta"}]
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
    "additionalProperties": False,
}


@pytest.fixture(scope="session")
def oai(proxy):
    return openai.OpenAI(base_url=proxy["client"] + "/v1", api_key="x", max_retries=0, timeout=20)


@pytest.fixture(scope="session")
def claude(proxy):
    return anthropic.Anthropic(base_url=proxy["client"], api_key="x", max_retries=0, timeout=20)


def oai_tools():
    return [{"type": "function", "function": {"name": n, "parameters": SCHEMA}} for n in TOOLS]


def claude_tools():
    return [{"name": n, "input_schema": SCHEMA} for n in TOOLS]


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_chat(oai, to):
    answer = oai.chat.completions.create(model=f"{to}/sim-ok", messages=HELLO)
    assert answer.choices[0].message.content == "Hello from sim-ok. You said: Hello"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.usage.prompt_tokens > 0, answer.usage.completion_tokens) == (True, 6)


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_stream(oai, to):
    options = {"include_usage": True}
    with oai.chat.completions.create(
        model=f"{to}/sim-ok", messages=HELLO, stream=True, stream_options=options
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Hello from sim-ok. You said: Hello"
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == 6
    assert len({c.id for c in chunks}) == 1


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_stream_without_usage_has_no_usage(oai, to):
    with oai.chat.completions.create(model=f"{to}/sim-ok", messages=HELLO, stream=True) as stream:
        assert all(chunk.choices and chunk.usage is None for chunk in stream)


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_parallel_tools_and_their_results(oai, to):
    model = f"{to}/sim-ok"
    first = oai.chat.completions.create(model=model, messages=ASK, tools=oai_tools())
    message = first.choices[0].message
    assert [c.function.name for c in message.tool_calls] == TOOLS
    assert first.choices[0].finish_reason == "tool_calls"
    results = [
        {"role": "tool", "tool_call_id": c.id, "content": f"result of {c.function.name}"}
        for c in message.tool_calls
    ]
    turn = {
        "role": "assistant", "content": message.content,
        "tool_calls": [c.model_dump(exclude_none=True) for c in message.tool_calls],
    }
    if to == "openai":
        for call in turn["tool_calls"]:
            call.pop("extra_content", None)
    last = oai.chat.completions.create(
        model=model, messages=[*ASK, turn, *results], tools=oai_tools()
    )
    assert "result of" in last.choices[0].message.content


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_streamed_tools(oai, to):
    with oai.chat.completions.stream(
        model=f"{to}/sim-ok", messages=ASK, tools=oai_tools()
    ) as stream:
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert [(c.function.name, c.function.arguments.replace(" ", "")) for c in calls] == [
        (name, '{"name":"x"}') for name in TOOLS
    ]


@pytest.mark.parametrize("to", DIALECTS)
def test_openai_structured_output(oai, to):
    form = {"type": "json_schema", "json_schema": {"name": "a", "schema": SCHEMA, "strict": True}}
    answer = oai.chat.completions.create(
        model=f"{to}/sim-ok", messages=HELLO, response_format=form
    )
    assert answer.choices[0].message.content == '{"name":"x"}'


@pytest.mark.parametrize("to", DIALECTS)
def test_anthropic_message(claude, to):
    answer = claude.messages.create(model=f"{to}/sim-ok", max_tokens=99, messages=HELLO)
    assert answer.content[0].text == "Hello from sim-ok. You said: Hello"
    assert answer.stop_reason == "end_turn" and answer.usage.output_tokens == 6


@pytest.mark.parametrize("to", DIALECTS)
def test_anthropic_stream(claude, to):
    with claude.messages.stream(model=f"{to}/sim-ok", max_tokens=99, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "Hello from sim-ok. You said: Hello"
    assert final.stop_reason == "end_turn" and final.usage.output_tokens == 6


@pytest.mark.parametrize("to", DIALECTS)
def test_anthropic_parallel_tools_and_their_results(claude, to):
    ask = {"model": f"{to}/sim-ok", "max_tokens": 99, "tools": claude_tools()}
    with claude.messages.stream(messages=ASK, **ask) as stream:
        first = stream.get_final_message()
    calls = [block for block in first.content if block.type == "tool_use"]
    assert [(c.name, c.input) for c in calls] == [(name, {"name": "x"}) for name in TOOLS]
    assert first.stop_reason == "tool_use"
    turn = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.input} for c in calls]
    results = [
        {"type": "tool_result", "tool_use_id": c.id, "content": f"result of {c.name}"} for c in calls
    ]
    messages = [*ASK, {"role": "assistant", "content": turn}, {"role": "user", "content": results}]
    last = claude.messages.create(messages=messages, **ask)
    assert "result of" in last.content[0].text


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize(
    ("model", "raised"),
    [
        ("sim-429", openai.RateLimitError),
        ("sim-500", openai.InternalServerError),
        ("sim-reset", openai.InternalServerError),
        ("sim-400", openai.BadRequestError),
        ("unknown", openai.NotFoundError),
    ],
)
def test_openai_errors_are_the_sdks_own(oai, to, model, raised):
    with pytest.raises(raised) as caught:
        oai.chat.completions.create(model=f"{to}/{model}", messages=HELLO)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize(
    ("model", "raised"),
    [
        ("sim-429", anthropic.RateLimitError),
        ("sim-500", anthropic.InternalServerError),
        ("unknown", anthropic.NotFoundError),
    ],
)
def test_anthropic_errors_are_the_sdks_own(claude, to, model, raised):
    with pytest.raises(raised):
        claude.messages.create(model=f"{to}/{model}", max_tokens=9, messages=HELLO)


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("model", ["sim-cut-3", "sim-error-3", "sim-malformed-3"])
def test_a_broken_stream_never_looks_complete(oai, claude, to, model):
    with pytest.raises(openai.APIError):
        list(oai.chat.completions.create(model=f"{to}/{model}", messages=HELLO, stream=True))
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(
            model=f"{to}/{model}", max_tokens=99, messages=HELLO
        ) as stream:
            stream.get_final_message()


@pytest.mark.parametrize("to", DIALECTS)
@pytest.mark.parametrize("fault", ["sim-500", "sim-529", "sim-reset", "sim-429"])
def test_a_failed_target_is_replaced_by_the_next(oai, to, fault):
    raw = oai.chat.completions.with_raw_response.create(
        model=f"{to}/{fault}/then-ok", messages=HELLO
    )
    assert raw.parse().choices[0].message.content.startswith("Hello from sim-ok")
    assert raw.headers["x-trunkline-target"] == "t1"
    assert raw.headers["x-trunkline-attempts"].endswith("t1:ok")


def test_models_are_listed_in_each_shape(oai, claude):
    assert "openai/sim-ok" in [model.id for model in oai.models.list()]
    assert "openai/sim-ok" in [model.id for model in claude.models.list()]
    assert oai.models.retrieve("openai/sim-ok").id == "openai/sim-ok"


def test_what_is_lost_is_said(oai):
    raw = oai.chat.completions.with_raw_response.create(
        model="anthropic/sim-ok", messages=HELLO, seed=7
    )
    assert raw.headers["x-trunkline-dropped"] == "seed"
    with pytest.raises(openai.BadRequestError):
        oai.chat.completions.create(model="anthropic/sim-ok", messages=HELLO, n=2)


def test_requests_are_counted_and_no_key_is_shown(proxy, oai):
    oai.chat.completions.create(model="openai/sim-ok", messages=HELLO)
    text = urllib.request.urlopen(proxy["admin"] + "/metrics").read().decode()
    assert 'trunkline_requests_total{api="ChatCompletions"' in text
    assert "canary" not in text
