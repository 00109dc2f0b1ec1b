"""What the tests of both Python SDKs say."""

import pydantic

from proxy import PROMPT

SAID = f"Hello {PROMPT}"
HELLO = [{"role": "user", "content": SAID}]
ANSWER = f"Hello from sim-ok. You said: {SAID}"
# Five words of its own and the two that were said.
TOKENS = 7

TOOLS = ["alpha", "beta"]
ASK = [{"role": "user", "content": f"use alpha and beta {PROMPT}"}]
RESULTS = "The tool said result of alpha, result of beta"
PARAMETERS = {
    "type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"],
    "additionalProperties": False,
}

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
URL = "https://example.com/a.png"


class Person(pydantic.BaseModel):
    """An answer that an SDK's own parse helper makes of JSON."""

    name: str
    age: int
    tags: list[str]
