"""Each failure reaches a client as its SDK's own exception, and a broken answer is never whole."""

import anthropic
import openai
import pytest

from proxy import DIALECTS
from samples import HELLO

every = pytest.mark.parametrize("to", DIALECTS)

# A refused key of ours is no fault of the client, which could do nothing about a 401.
FAILURES = [
    ("sim-400", "BadRequestError"),
    ("sim-401", "InternalServerError"),
    ("sim-403", "InternalServerError"),
    ("sim-404", "NotFoundError"),
    ("sim-429", "RateLimitError"),
    ("sim-500", "InternalServerError"),
    ("sim-503", "InternalServerError"),
    ("sim-529", "InternalServerError"),
    ("sim-reset", "InternalServerError"),
    ("sim-silent", "InternalServerError"),
    ("unknown", "NotFoundError"),
]
failures = pytest.mark.parametrize(("model", "raised"), FAILURES)
BROKEN = ["sim-cut-3", "sim-error-3", "sim-malformed-3", "sim-noend", "sim-stall-3"]


@every
@failures
def test_openai(oai, to, model, raised):
    with pytest.raises(openai.APIStatusError) as caught:
        oai.chat.completions.create(model=f"{to}/{model}", messages=HELLO)
    assert type(caught.value).__name__ == raised
    assert caught.value.type is not None and caught.value.request_id


@every
@failures
def test_anthropic(claude, to, model, raised):
    with pytest.raises(anthropic.APIStatusError) as caught:
        claude.messages.create(model=f"{to}/{model}", max_tokens=9, messages=HELLO)
    # The SDK has classes of its own below that of 5xx.
    assert raised in [kind.__name__ for kind in type(caught.value).__mro__]
    assert caught.value.body["type"] == "error"


@every
def test_the_wait_that_a_provider_asks_for_is_passed_on(oai, claude, to):
    with pytest.raises(openai.RateLimitError) as caught:
        oai.chat.completions.create(model=f"{to}/sim-429-after-9", messages=HELLO)
    assert float(caught.value.response.headers["retry-after"]) <= 9
    with pytest.raises(anthropic.RateLimitError):
        claude.messages.create(model=f"{to}/sim-429-after-9", max_tokens=9, messages=HELLO)


@every
@pytest.mark.parametrize("model", BROKEN)
def test_a_broken_stream_never_looks_complete(oai, claude, to, model):
    if (to, model) == ("openai", "sim-noend"):
        pytest.skip("servers like OpenAI's leave out [DONE]: a finish reason is end enough")
    with pytest.raises(openai.APIError):
        list(oai.chat.completions.create(model=f"{to}/{model}", messages=HELLO, stream=True))
    with pytest.raises(anthropic.APIError):
        with claude.messages.stream(
            model=f"{to}/{model}", max_tokens=99, messages=HELLO
        ) as stream:
            stream.get_final_message()


@every
@pytest.mark.parametrize("fault", ["sim-500", "sim-529", "sim-reset", "sim-429", "sim-silent"])
def test_a_failed_target_is_replaced_by_the_next(oai, to, fault):
    raw = oai.chat.completions.with_raw_response.create(
        model=f"{to}/{fault}/then-ok", messages=HELLO
    )
    assert raw.parse().choices[0].message.content.startswith("Hello from sim-ok")
    assert raw.headers["x-trunkline-target"] == "t1"
    assert raw.headers["x-trunkline-attempts"].endswith("t1:ok")


def test_a_request_at_fault_is_told_which_field(oai, claude):
    with pytest.raises(openai.BadRequestError) as caught:
        oai.chat.completions.create(
            model="anthropic/sim-ok", messages=HELLO, extra_body={"temperature": "warm"}
        )
    assert "temperature" in str(caught.value)
    with pytest.raises(anthropic.BadRequestError) as caught:
        claude.messages.create(
            model="openai/sim-ok", max_tokens=9, messages=[{"role": "nobody", "content": "x"}]
        )
    assert "role" in str(caught.value)
