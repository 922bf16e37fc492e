"""Comparing Reeve's ledger with what the provider says it served, by a computation that shares nothing with Reeve.

The provider's journal is read line by line into disjoint meters, priced in exact fractions, and summed per project,
workflow, model and meter; the ledger's usage report is read in the same grouping. They must be equal to the picodollar.

    lanes = Lanes(setup["lanes"])                      which key and model belong to which project and workflow
    expected = expect(sim.journal(), lanes, PriceBook.read(setup["prices"]))
    actual = Ledger(setup["admin"], tokens).report(lanes)
    result = compare(expected, actual)
    print(result.table()); result.equal
"""
import hashlib
import itertools
import json
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from decimal import Decimal, localcontext
from fractions import Fraction

PICODOLLARS = 10 ** 12
METERS = ("input_uncached", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
INPUT_METERS = METERS[:4]


# --- prices ------------------------------------------------------------------------------------------------------------

def exact(value):
    """A price as it is written: JSON numbers are read as decimals, never through a float."""
    return Fraction(Decimal(str(value)))


class PriceBook:
    """USD per million tokens. Two documents are understood:

    {"models": {"m": {"input_uncached": "0.15", "cache_read": "0.075", "output": "0.60"}}}      by meter
    [{"id": "openai", "models": [{"id": "m", "prices": {"input_mtok": 0.15, ...}}]}]            as genai-prices has it

    A price may be {"base": .., "tiers": [{"start": n, "price": ..}]}: from more than n input tokens on, all of the request
    is at the tier's price. A meter without a price of its own takes its kin's: reasoning the output's, a cache write of
    an hour nothing (unrated).
    """

    MTOK = {"input_uncached": "input_mtok", "cache_read": "cache_read_mtok", "cache_write_5m": "cache_write_mtok",
            "output": "output_mtok"}

    def __init__(self, models):
        self.models = models

    @classmethod
    def read(cls, document, providers=("openai", "anthropic")):
        if isinstance(document, str):
            with open(document, encoding="utf-8") as file:
                document = json.load(file, parse_float=Decimal)
        if isinstance(document, dict):
            return cls(document["models"])
        models = {}
        for provider in document:
            if provider["id"] not in providers:
                continue
            for model in provider["models"]:
                prices = model["prices"]
                if isinstance(prices, dict):
                    models[model["id"]] = {meter: prices[name] for meter, name in cls.MTOK.items() if name in prices}
        return cls(models)

    def rate(self, model, meter, input_tokens):
        """Picodollars for one token, rounded half to even once, as a published rate is; None without a price."""
        prices = self.models.get(model, {})
        price = prices.get(meter)
        if price is None and meter == "reasoning":
            price = prices.get("output")
        if price is None:
            return None
        if isinstance(price, dict):
            price = self._tier(price, input_tokens)
        return round(exact(price) * PICODOLLARS / 10 ** 6)

    @staticmethod
    def _tier(price, input_tokens):
        reached = [tier for tier in price["tiers"] if input_tokens > tier["start"]]
        return max(reached, key=lambda tier: tier["start"])["price"] if reached else price["base"]


# --- the provider's side -------------------------------------------------------------------------------------------------

def openai_meters(usage):
    cached = usage["prompt_tokens_details"]["cached_tokens"]
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    if usage["total_tokens"] != usage["prompt_tokens"] + usage["completion_tokens"]:
        raise ValueError(f"the provider's own total is wrong: {usage}")
    return {"input_uncached": usage["prompt_tokens"] - cached, "cache_read": cached,
            "output": usage["completion_tokens"] - reasoning, "reasoning": reasoning}


def anthropic_meters(usage):
    creation = usage.get("cache_creation") or {"ephemeral_5m_input_tokens": usage["cache_creation_input_tokens"],
                                               "ephemeral_1h_input_tokens": 0}
    reasoning = usage.get("output_tokens_details", {}).get("thinking_tokens", 0)
    return {"input_uncached": usage["input_tokens"], "cache_read": usage["cache_read_input_tokens"],
            "cache_write_5m": creation["ephemeral_5m_input_tokens"], "cache_write_1h": creation["ephemeral_1h_input_tokens"],
            "output": usage["output_tokens"] - reasoning, "reasoning": reasoning}


def told_meters(line):
    """What the provider told its caller about a call, as meters; {} when it said nothing.

    An Anthropic stream tells in two parts: message_start knows the cache writes by lifetime, message_delta the output.
    One that was cut told only the first.
    """
    start, final = line["usage_start"], line["usage"] if line["usage_delivered"] else None
    if line["dialect"] == "openai":
        return openai_meters(final) if final else {}
    if not start and not final:
        return {}
    return anthropic_meters({**(start or {}), **(final or {})})


def served_meters(line):
    """What the provider really did, told or not."""
    return dict(line["served"])


class Lanes:
    """Which provider key and model belong to which project and workflow: {"project", "workflow", "key_sha256", "models"}
    and, where the report shows ids, "project_id" and "workflow_id"; "fallback_key_sha256": keys of its other targets."""

    def __init__(self, lanes):
        self.by_key, self.names = {}, {}
        for lane in lanes:
            keys = (lane["key_sha256"], *lane.get("fallback_key_sha256", ()))
            for key, model in itertools.product(keys, lane["models"]):
                place = (lane["project"], lane["workflow"])
                if self.by_key.setdefault((key, model), place) != place:
                    raise ValueError(f"two lanes use the same provider key and model {model}: they cannot be told apart")
            for noun in ("project", "workflow"):
                if lane.get(noun + "_id"):
                    self.names[lane[noun + "_id"]] = lane[noun]

    def place(self, line):
        return self.by_key.get((line["key_sha256"], line["model"]))

    def name(self, text):
        return self.names.get(text, text)

    def projects(self):
        return {project for project, _ in self.by_key.values()}


def key_sha256(key):
    return hashlib.sha256(key.encode()).hexdigest()


@dataclass
class Sum:
    """Tokens and their price; tokens without a price are counted apart."""
    quantity: int = 0
    picodollars: int = 0
    unrated: int = 0

    def add(self, quantity, rate):
        self.quantity += quantity
        if rate is None:
            self.unrated += quantity
        else:
            self.picodollars += quantity * rate


@dataclass
class Expected:
    sums: dict = field(default_factory=dict)  # (project, workflow, model, meter): Sum
    calls: int = 0
    strays: list = field(default_factory=list)  # lines of no lane that carry tokens
    untold: int = 0  # tokens that were generated or read, and never reported to the caller


def expect(journal, lanes, prices, meters_of=told_meters):
    """What the ledger should say, from the provider's journal."""
    expected = Expected()
    for line in journal:
        meters = {meter: count for meter, count in meters_of(line).items() if count}
        expected.untold += sum(served_meters(line).values()) - sum(meters.values())
        if not meters:
            continue
        place = lanes.place(line)
        if place is None:
            expected.strays.append(line)
            continue
        expected.calls += 1
        input_tokens = sum(meters.get(meter, 0) for meter in INPUT_METERS)
        for meter, count in meters.items():
            total = expected.sums.setdefault((*place, line["model"], meter), Sum())
            total.add(count, prices.rate(line["model"], meter, input_tokens))
    return expected


# --- the ledger's side -----------------------------------------------------------------------------------------------------

class Ledger:
    """Reads the usage report over the admin API; one token per organization."""

    GROUPING = "project,workflow,model,meter"

    def __init__(self, admin_url, tokens):
        self.admin_url, self.tokens = admin_url.rstrip("/"), list(tokens)
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def _get(self, token, query):
        url = f"{self.admin_url}/v1/usage?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
        try:
            with self.opener.open(request, timeout=30) as answer:
                return json.loads(answer.read(), parse_float=Decimal)
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"GET /v1/usage: {error.code} {error.read(2000).decode(errors='replace')}") from None

    def rows(self):
        for token in self.tokens:
            query = {"group_by": self.GROUPING, "page_size": 200}
            while True:
                page = self._get(token, query)
                yield from page["data"]
                if not page.get("next_page_token"):
                    break
                query["page_token"] = page["next_page_token"]

    def report(self, lanes):
        """{(project, workflow, model, meter): Sum} of the lanes' projects, names instead of ids."""
        sums = {}
        for row in self.rows():
            project, workflow = lanes.name(row["project"]), lanes.name(row["workflow"])
            if project not in lanes.projects():
                continue
            total = sums.setdefault((project, workflow, row["model"], row["meter"]), Sum())
            total.quantity += int(row["quantity"])
            total.unrated += int(row.get("unrated_quantity") or 0)
            total.picodollars += picodollars(row["amount_usd"])
        return {key: total for key, total in sums.items() if total != Sum()}


def picodollars(text):
    """An amount as the API writes it; refused when it is not a whole number of picodollars."""
    with localcontext() as context:
        context.prec = 60
        amount = Decimal(text) * PICODOLLARS
    if amount != int(amount):
        raise ValueError(f"{text} is finer than a picodollar")
    return int(amount)


def minus(after, before):
    """What was added to a report since an earlier one."""
    changed = {}
    for key, total in after.items():
        old = before.get(key, Sum())
        change = Sum(total.quantity - old.quantity, total.picodollars - old.picodollars, total.unrated - old.unrated)
        if change != Sum():
            changed[key] = change
    for key in before.keys() - after.keys():
        old = before[key]
        changed[key] = Sum(-old.quantity, -old.picodollars, -old.unrated)
    return changed


# --- the verdict --------------------------------------------------------------------------------------------------------------

def dollars(amount):
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{amount // PICODOLLARS}.{amount % PICODOLLARS:012d}"


@dataclass
class Result:
    rows: list  # (key, provider's Sum, ledger's Sum)
    expected: Expected

    @property
    def differences(self):
        return [row for row in self.rows if row[1] != row[2]]

    @property
    def equal(self):
        return not self.differences and not self.expected.strays

    def table(self):
        head = ("project", "workflow", "model", "meter", "tokens", "ledger USD", "provider USD", "")
        lines = [head]
        for key, provider, ledger in self.rows:
            lines.append((*key, f"{ledger.quantity:,}", dollars(ledger.picodollars), dollars(provider.picodollars),
                          self._remark(provider, ledger)))
        lines.append(("total", "", "", "", f"{sum(row[2].quantity for row in self.rows):,}",
                      dollars(sum(row[2].picodollars for row in self.rows)),
                      dollars(sum(row[1].picodollars for row in self.rows)), "equal" if self.equal else "NOT EQUAL"))
        widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
        return "\n".join("  ".join(text.rjust(width) if 4 <= column <= 6 else text.ljust(width)
                                   for column, (text, width) in enumerate(zip(line, widths))).rstrip() for line in lines)

    @staticmethod
    def _remark(provider, ledger):
        remarks = []
        if ledger.quantity != provider.quantity:
            remarks.append(f"tokens differ by {ledger.quantity - provider.quantity:+,}")
        if ledger.picodollars != provider.picodollars:
            remarks.append(f"amount differs by {ledger.picodollars - provider.picodollars:+,} picodollars")
        if ledger.unrated != provider.unrated:
            remarks.append(f"unrated tokens differ by {ledger.unrated - provider.unrated:+,}")
        elif ledger.unrated:
            remarks.append("unrated")
        return "; ".join(remarks)


def compare(expected, actual):
    keys = sorted(expected.sums.keys() | actual.keys())
    return Result([(key, expected.sums.get(key, Sum()), actual.get(key, Sum())) for key in keys], expected)

