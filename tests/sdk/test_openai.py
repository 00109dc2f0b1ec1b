"""The official OpenAI SDK against the proxy, on every upstream dialect."""

import openai
import pytest

from proxy import DIALECTS, PROMPT
from samples import ANSWER, ASK, HELLO, PARAMETERS, PNG, RESULTS, SAID, TOKENS, TOOLS, URL, Person

every = pytest.mark.parametrize("to", DIALECTS)


def tools():
    return [{"type": "function", "function": {"name": n, "parameters": PARAMETERS}} for n in TOOLS]


def replayed(to, message):
    """The assistant's message as a client gives it back that keeps all that it got.

    Fields that OpenAI's own API has in an answer and not in a request are left out for it.
    """
    turn = message.model_dump(exclude_none=True)
    turn.pop("parsed", None)
    for call in turn["tool_calls"]:
        call["function"].pop("parsed_arguments", None)
        call.pop("index", None)
    if to == "openai":
        for key in ["annotations", "reasoning_content"]:
            turn.pop(key, None)
    return turn


def results(message):
    return [
        {"role": "tool", "tool_call_id": c.id, "content": f"result of {c.function.name}"}
        for c in message.tool_calls
    ]


@every
def test_chat(oai, to):
    answer = oai.chat.completions.create(model=f"{to}/sim-ok", messages=HELLO)
    choice, usage = answer.choices[0], answer.usage
    assert (choice.message.content, choice.finish_reason) == (ANSWER, "stop")
    assert usage.prompt_tokens > 0 and usage.completion_tokens == TOKENS
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens


@every
def test_system_and_developer_messages_and_several_turns(oai, to):
    messages = [
        {"role": "system", "content": "Be brief."}, *HELLO,
        {"role": "assistant", "content": "Hello."}, {"role": "user", "content": SAID},
    ]
    answer = oai.chat.completions.create(model=f"{to}/sim-ok", messages=messages)
    assert answer.choices[0].message.content == ANSWER


@every
def test_stream(oai, to):
    with oai.chat.completions.create(
        model=f"{to}/sim-ok", messages=HELLO, stream=True, stream_options={"include_usage": True}
    ) as stream:
        chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == ANSWER
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens == TOKENS
    assert len({c.id for c in chunks}) == 1
    reasons = [c.choices[0].finish_reason for c in chunks if c.choices]
    assert [reason for reason in reasons if reason] == ["stop"]


@every
def test_a_stream_without_usage_has_no_usage(oai, to):
    with oai.chat.completions.create(model=f"{to}/sim-ok", messages=HELLO, stream=True) as stream:
        assert all(chunk.choices and chunk.usage is None for chunk in stream)


@every
def test_parallel_tools_and_their_results(oai, to):
    ask = {"model": f"{to}/sim-ok", "tools": tools()}
    first = oai.chat.completions.create(messages=ASK, **ask)
    message = first.choices[0].message
    assert [c.function.name for c in message.tool_calls] == TOOLS
    assert first.choices[0].finish_reason == "tool_calls"
    turn = replayed(to, message)
    last = oai.chat.completions.create(messages=[*ASK, turn, *results(message)], **ask)
    assert last.choices[0].message.content == RESULTS


@every
def test_streamed_tools_and_their_results(oai, to):
    ask = {"model": f"{to}/sim-ok", "tools": tools()}
    with oai.chat.completions.stream(messages=ASK, **ask) as stream:
        message = stream.get_final_completion().choices[0].message
    calls = [(c.function.name, c.function.arguments.replace(" ", "")) for c in message.tool_calls]
    assert calls == [(name, '{"name":"x"}') for name in TOOLS]
    # Of a call, a client that keeps to the documented fields gives back no more than this.
    turn = {"role": "assistant", "tool_calls": [
        {"id": c.id, "type": "function",
         "function": {"name": c.function.name, "arguments": c.function.arguments}}
        for c in message.tool_calls
    ]}
    last = oai.chat.completions.create(messages=[*ASK, turn, *results(message)], **ask)
    assert last.choices[0].message.content == RESULTS


@every
def test_tool_choice_and_serial_calls(oai, to):
    ask = {"model": f"{to}/sim-ok", "tools": tools()}
    named = {"type": "function", "function": {"name": "beta"}}
    answer = oai.chat.completions.create(messages=HELLO, tool_choice=named, **ask)
    assert [c.function.name for c in answer.choices[0].message.tool_calls] == ["beta"]
    answer = oai.chat.completions.create(messages=ASK, tool_choice="none", **ask)
    assert answer.choices[0].message.tool_calls is None
    if to != "gemini":
        answer = oai.chat.completions.create(messages=ASK, parallel_tool_calls=False, **ask)
        assert len(answer.choices[0].message.tool_calls) == 1


@every
def test_structured_output_is_parsed(oai, to):
    answer = oai.chat.completions.parse(
        model=f"{to}/sim-ok", messages=HELLO, response_format=Person
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


@every
def test_an_image_as_data(oai, to):
    url = {"url": f"data:image/png;base64,{PNG}"}
    parts = [{"type": "text", "text": SAID}, {"type": "image_url", "image_url": url}]
    answer = oai.chat.completions.create(
        model=f"{to}/sim-ok", messages=[{"role": "user", "content": parts}]
    )
    assert answer.choices[0].message.content == f"{ANSWER} I see 1 image."


@every
def test_an_image_by_url_where_the_provider_fetches_it(oai, to):
    parts = [{"type": "text", "text": SAID}, {"type": "image_url", "image_url": {"url": URL}}]
    ask = {"model": f"{to}/sim-ok", "messages": [{"role": "user", "content": parts}]}
    if to == "gemini":
        with pytest.raises(openai.BadRequestError):
            oai.chat.completions.create(**ask)
    else:
        answer = oai.chat.completions.create(**ask)
        assert answer.choices[0].message.content == f"{ANSWER} I see 1 image."


@every
@pytest.mark.parametrize("streamed", [False, True])
def test_reasoning_is_shown_counted_and_replayed(proxy, oai, to, streamed):
    mark = f"reasoning-{to}-{streamed}"
    asked = [{"role": "user", "content": f"use alpha and beta {PROMPT} {mark}"}]
    ask = {"model": f"{to}/sim-ok", "tools": tools(), "reasoning_effort": "low"}
    if streamed:
        with oai.chat.completions.stream(
            messages=asked, stream_options={"include_usage": True}, **ask
        ) as stream:
            first = stream.get_final_completion()
    else:
        first = oai.chat.completions.create(messages=asked, **ask)
    message = first.choices[0].message
    assert message.reasoning_content.startswith("Let me think about this")
    assert first.usage.completion_tokens_details.reasoning_tokens == 8
    turn = replayed(to, message)
    last = oai.chat.completions.create(messages=[*asked, turn, *results(message)], **ask)
    assert last.choices[0].message.content == RESULTS
    sent = [e["body"] for e in proxy.journal() if mark in str(e["body"])][-1]
    if to == "anthropic":
        thought = sent["messages"][1]["content"][0]
        assert thought["type"] == "thinking" and len(thought["signature"]) > 20
    if to == "gemini":
        calls = [part for part in sent["contents"][1]["parts"] if "functionCall" in part]
        assert len(calls[0]["thoughtSignature"]) > 20 and "skip" not in calls[0]["thoughtSignature"]


@every
def test_real_models_take_what_is_said_to_them(oai, to):
    """The proxy knows what a model refuses; the simulator refuses it."""
    # To a provider of the client's own dialect the request goes as it came: see the next test.
    temperature = 1 if to == "openai" else 0.5
    answer = oai.chat.completions.create(
        model=f"{to}/real", messages=HELLO, temperature=temperature, max_completion_tokens=500,
        reasoning_effort="high",
    )
    assert PROMPT in answer.choices[0].message.content


def test_a_provider_of_the_same_dialect_judges_for_itself(oai):
    with pytest.raises(openai.BadRequestError, match="does not support 0.5 with this model"):
        oai.chat.completions.create(
            model="openai/real", messages=HELLO, temperature=0.5, metadata={"test": "refused"}
        )


@every
def test_cached_tokens_are_part_of_the_prompt(oai, to):
    usage = oai.chat.completions.create(model=f"{to}/sim-cached-50", messages=HELLO).usage
    assert 0 < usage.prompt_tokens_details.cached_tokens <= usage.prompt_tokens // 2 + 1


@every
def test_limits_and_stops_end_an_answer(oai, to):
    ask = {"model": f"{to}/sim-ok", "messages": HELLO}
    short = oai.chat.completions.create(max_tokens=2, **ask).choices[0]
    assert (short.finish_reason, short.message.content) == ("length", "Hello from ")
    stopped = oai.chat.completions.create(stop=["You"], **ask).choices[0]
    assert (stopped.finish_reason, stopped.message.content) == ("stop", "Hello from sim-ok. ")


@pytest.mark.parametrize("to", ["openai", "gemini"])
def test_log_probabilities_where_the_provider_has_them(oai, to):
    answer = oai.chat.completions.create(
        model=f"{to}/sim-ok", messages=HELLO, logprobs=True, top_logprobs=2
    )
    content = answer.choices[0].logprobs.content
    assert "".join(token.token for token in content) == ANSWER
    assert all(len(token.top_logprobs) == 2 for token in content)


@every
def test_a_refusal_is_no_answer(oai, to):
    choice = oai.chat.completions.create(model=f"{to}/sim-refusal", messages=HELLO).choices[0]
    if to == "openai":
        assert choice.message.refusal == "I cannot help with that."
    else:
        assert choice.finish_reason == "content_filter"


def test_models_are_listed(oai):
    ids = [model.id for model in oai.models.list()]
    assert "openai/sim-ok" in ids and "gemini/real" in ids
    assert oai.models.retrieve("openai/sim-ok").id == "openai/sim-ok"
    with pytest.raises(openai.NotFoundError):
        oai.models.retrieve("no-such-model")


def test_what_is_lost_is_said(oai):
    raw = oai.chat.completions.with_raw_response.create(
        model="anthropic/sim-ok", messages=HELLO, seed=7
    )
    assert raw.headers["x-trunkline-dropped"] == "seed"
    with pytest.raises(openai.BadRequestError):
        oai.chat.completions.create(model="anthropic/sim-ok", messages=HELLO, n=2)
