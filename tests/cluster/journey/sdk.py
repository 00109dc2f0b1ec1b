"""The official SDKs against a proxy in a pod: sdk.py BASE_URL KEY MODEL.

Says what the streams said, one line an SDK; any surprise is an exception.
"""

import sys

import anthropic
import openai

base, key, model = sys.argv[1:]
question = [{"role": "user", "content": "Count to twenty, please."}]

client = openai.OpenAI(base_url=f"{base}/v1", api_key=key, max_retries=0)
stream = client.chat.completions.create(model=model, messages=question, stream=True)
chunks = [choice for chunk in stream for choice in chunk.choices]
assert chunks[-1].finish_reason == "stop", chunks[-1]
print("openai", "".join(chunk.delta.content or "" for chunk in chunks))

client = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
with client.messages.stream(model=model, max_tokens=1000, messages=question) as stream:
    text = "".join(stream.text_stream)
    assert stream.get_final_message().stop_reason == "end_turn", stream.get_final_message()
print("anthropic", text)
