#!/usr/bin/python3
"""What events cost, computed on its own: reads a batch of CloudEvents and rates (provider|model|meter|pico lines), and
prints org|project|provider|model|outcome|meter|quantity|amount|unrated sums and org|attempts|events counts.

It shares nothing with the ledger but the meaning of providers' numbers: exact integers and decimals throughout.
"""
import base64
import json
import sys
from collections import defaultdict
from decimal import Decimal, getcontext

getcontext().prec = 60
ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"


def uuid_of(typeid):
    number = 0
    for c in typeid.split("_")[1]:
        number = number * 32 + ALPHABET.index(c)
    text = f"{number:032x}"
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def openai(usage):
    cached = usage.get("prompt_tokens_details", {}).get("cached_tokens", 0)
    reasoning = usage.get("completion_tokens_details", {}).get("reasoning_tokens", 0)
    yield None, {
        "input_uncached": usage["prompt_tokens"] - cached, "cache_read": cached,
        "output": usage["completion_tokens"] - reasoning, "reasoning": reasoning,
    }


def anthropic_one(part):
    creation = part.get("cache_creation", {})
    return {
        "input_uncached": part["input_tokens"], "cache_read": part.get("cache_read_input_tokens", 0),
        "cache_write_5m": creation.get("ephemeral_5m_input_tokens", 0),
        "cache_write_1h": creation.get("ephemeral_1h_input_tokens", 0), "output": part["output_tokens"],
    }


def anthropic(usage):
    for part in usage.get("iterations", [usage]):
        yield part.get("model"), anthropic_one(part)


FALLBACK = {"reasoning": "output"}


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        events = json.load(f)
    rates = {}
    with open(sys.argv[2], encoding="utf-8") as f:
        for line in f.read().splitlines():
            provider, model, meter, pico = line.split("|")
            rates[provider, model, meter] = Decimal(pico)
    sums = defaultdict(lambda: [0, Decimal(0), 0])
    counts = defaultdict(lambda: [0, 0])
    for event in {e["id"]: e for e in events}.values():
        data = event["data"]
        org = uuid_of(data["org"])
        counts[org][1] += 1
        for attempt in data["attempts"]:
            counts[org][0] += 1
            for unit in attempt["units"]:
                usage = json.loads(base64.b64decode(unit["usage_raw"]))
                reader = openai if attempt["provider"] == "openai" else anthropic
                for model, meters in reader(usage):
                    model = model or attempt["model_answered"]
                    for meter, quantity in meters.items():
                        if quantity == 0:
                            continue
                        key = (org, uuid_of(data["project"]), attempt["provider"], model, attempt["outcome"], meter)
                        rate = rates.get((attempt["provider"], model, meter),
                                         rates.get((attempt["provider"], model, FALLBACK.get(meter))))
                        sums[key][0] += quantity
                        if rate is None:
                            sums[key][2] += quantity
                        else:
                            sums[key][1] += rate * quantity
    for key, (quantity, amount, unrated) in sorted(sums.items()):
        print("|".join(key), quantity, int(amount), unrated, sep="|")
    for org, (attempts, number) in sorted(counts.items()):
        print(org, attempts, number, sep="|")


main()
