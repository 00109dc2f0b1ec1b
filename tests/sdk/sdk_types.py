"""Judges a request by the types of its provider's own SDK: code that we did not write.

The SDKs' TypedDicts say what a request may hold. pydantic checks values against them, and is told to
refuse every key that they do not have. Google's types refuse such keys by themselves.
"""

import importlib
import inspect
import pkgutil
import typing

import pydantic
import typing_extensions
from anthropic.types import message_create_params as anthropic_params
from google.genai import types as gemini_types
from openai.types.chat import completion_create_params as openai_params

# Files are of no type that pydantic knows; none is sent.
STRICT = pydantic.ConfigDict(extra="forbid", arbitrary_types_allowed=True)


def close(package):
    """Makes every TypedDict of a package refuse keys that it does not have."""
    package = importlib.import_module(package)
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        try:
            loaded = importlib.import_module(module.name)
        except ImportError:
            continue  # needs an optional dependency
        for _, kind in inspect.getmembers(loaded, typing_extensions.is_typeddict):
            kind.__pydantic_config__ = STRICT


close("openai.types")
close("anthropic.types")

ADAPTERS = {
    (provider, streamed): pydantic.TypeAdapter(kind)
    for provider, streamed, kind in [
        ("openai", False, openai_params.CompletionCreateParamsNonStreaming),
        ("openai", True, openai_params.CompletionCreateParamsStreaming),
        ("anthropic", False, anthropic_params.MessageCreateParamsNonStreaming),
        ("anthropic", True, anthropic_params.MessageCreateParamsStreaming),
    ]
}

# The body of Gemini's generateContent, of which Google's SDK has the parts and not the whole.
GEMINI = {
    "contents": list[gemini_types.Content],
    "systemInstruction": gemini_types.Content,
    "tools": list[gemini_types.Tool],
    "toolConfig": gemini_types.ToolConfig,
    "safetySettings": list[gemini_types.SafetySetting],
    "generationConfig": gemini_types.GenerationConfig,
    "cachedContent": str,
    "labels": dict[str, str],
    "serviceTier": str,
}


def exhaust(value):
    """Iterables are checked while they are read."""
    if isinstance(value, dict):
        for inner in value.values():
            exhaust(inner)
    elif not isinstance(value, (str, bytes)) and isinstance(value, typing.Iterable):
        for inner in value:
            exhaust(inner)


def judge(provider, body):
    """Raises what the SDK's types find wrong with a request."""
    if provider == "gemini":
        unknown = set(body) - set(GEMINI)
        assert not unknown, f"Gemini has no {unknown}"
        for key, value in body.items():
            pydantic.TypeAdapter(GEMINI[key]).validate_python(value)
    else:
        exhaust(ADAPTERS[provider, body.get("stream") is True].validate_python(body))
