"""Prices 1,000 made-up answers with `trunkline price` and with genai-prices, which we did not write.

Both must agree to the nano-dollar, or the model stands in DISAGREEMENTS with the reason: there the
two public sources of data differ, and not what is done with them.
"""

import datetime
import json
import os
import pathlib
import random
import subprocess
from decimal import ROUND_HALF_UP, Decimal

import genai_prices

BINARY = os.environ["TRUNKLINE_BIN"]
# Both sources are pinned; so is the day for which they are asked.
DAY = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.timezone.utc)
SOURCES = {"Anthropic": "anthropic", "Gemini": "google", "OpenAI": "openai"}
CATALOGUE = pathlib.Path(__file__).parents[2] / "catalogue" / "models.json"

# Where the sources' data differs, and how.
DISAGREEMENTS = {
    "Anthropic claude-sonnet-4-5": "genai-prices doubles the input above 200,000 tokens (a beta that is over), litellm does not",
    "Anthropic claude-sonnet-4-5-20250929": "as claude-sonnet-4-5",
    "Gemini gemini-2.5-pro-preview-tts": "genai-prices has the price of spoken output, litellm that of text",
    "OpenAI ft:gpt-4o-2024-08-06": "litellm has a price for cached input, genai-prices has none",
    "OpenAI ft:gpt-4o-mini-2024-07-18": "litellm has a price for cached input, genai-prices has none",
    "OpenAI gpt-4o-search-preview-2025-03-11": "as gpt-4o-search-preview",
    "OpenAI gpt-5.6-cyber": "litellm doubles the input above 272,000 tokens, genai-prices does not",
    "OpenAI gpt-4o-search-preview": "litellm has a price for cached input, genai-prices has none",
}


def answer(random, provider, model, tiers):
    """An answer's usage in the provider's own words, above and below every threshold."""
    input = random.choice([random.randrange(1, 4000), random.randrange(100_000, 400_000)])
    cached = random.choice([0, random.randrange(input)])
    output = random.randrange(0, 8000)
    reasoning = random.choice([0, random.randrange(output + 1)])
    if provider == "OpenAI":
        return {
            "model": model, "object": "chat.completion", "choices": [],
            "usage": {
                "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output,
                "prompt_tokens_details": {"cached_tokens": cached},
                "completion_tokens_details": {"reasoning_tokens": reasoning},
            },
            "service_tier": random.choice(tiers),
        }
    if provider == "Anthropic":
        short, long = (random.choice([0, random.randrange(5000)]) for _ in range(2))
        return {
            "type": "message", "model": model, "content": [],
            "usage": {
                "input_tokens": input, "cache_read_input_tokens": cached,
                "cache_creation_input_tokens": short + long,
                "cache_creation": {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long},
                "output_tokens": output, "service_tier": "standard",
            },
        }
    return {
        "modelVersion": model, "candidates": [],
        "usageMetadata": {
            "promptTokenCount": input, "cachedContentTokenCount": cached,
            "candidatesTokenCount": output - reasoning, "thoughtsTokenCount": reasoning,
            "totalTokenCount": input + output,
        },
    }


def theirs(provider, model, body):
    """genai-prices' cost in nano-dollars; None where it does not know the model."""
    source = SOURCES[provider]
    flavor = "chat" if provider == "OpenAI" else "default"
    context = {"service_tier": body["service_tier"]} if "service_tier" in body else None
    try:
        used = genai_prices.extract_usage(body, provider_id=source, api_flavor=flavor).usage
        found = genai_prices.calc_price(
            used, model, provider_id=source, genai_request_timestamp=DAY, price_context=context)
    except LookupError:
        return None
    return int((found.total_price * 10**9).quantize(Decimal(1), ROUND_HALF_UP))


def test_a_thousand_answers_cost_what_an_independent_price_list_says():
    rows = json.loads(CATALOGUE.read_text())["models"]
    # A tier without a price has an unknown cost with us; genai-prices takes the standard price then.
    tiers = {
        (row["provider"], row["model"]):
            ["default"] + [tier for tier in ("flex", "priority") if tier in row["pricing"]]
        for row in rows if "pricing" in row and row["pricing"]["standard"]["input"] != "0"
    }
    rng = random.Random(7)
    asked = []
    while len(asked) < 1000:
        provider = rng.choice(list(SOURCES))
        model = rng.choice([model for of, model in tiers if of == provider])
        body = answer(rng, provider, model, tiers[provider, model])
        cost = theirs(provider, model, body)
        if cost is not None:
            asked.append((provider, model, body, cost))
    lines = "".join(
        json.dumps({"provider": provider, "model": model, "answer": body}) + "\n"
        for provider, model, body, _ in asked)
    told = subprocess.run([BINARY, "price"], input=lines, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    told = [json.loads(line) for line in told.stdout.splitlines()]
    assert len(told) == len(asked) == 1000
    wrong = {}
    for (provider, model, body, cost), ours in zip(asked, told):
        ours = None if ours["usd"] is None else int(Decimal(ours["usd"]) * 10**9)
        if ours != cost and f"{provider} {model}" not in DISAGREEMENTS:
            wrong.setdefault(f"{provider} {model}", []).append((ours, cost, body))
    assert not wrong
    assert {provider for provider, *_ in asked} == set(SOURCES)
