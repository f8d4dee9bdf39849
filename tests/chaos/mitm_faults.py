"""An addon for mitmdump: spoil some requests, or the answers to them, by rule.

`LABELMILL_FAULTS` holds rules in JSON, of which the first that applies is followed:

    {"seed": 7, "rules": [{"fault": "503", "method": "GET", "url": "/photos/", "rate": 0.3}]}

    fault    503, 500, expired, reset, lost (the request arrives, its answer does not), slow,
             truncated (a body shorter than its length says), short (and agrees with it), flipped
    method   regular expression; any by default
    url      regular expression to be found in path and query; any by default
    rate     how often, 1 by default
    times    how often at most for each path, without end by default
    seconds  that a slow answer takes, 2 by default
    after    how many requests of all kinds come first, 0 by default
"""

import asyncio
import json
import os
import random
import re
from collections import Counter
from typing import Any

from mitmproxy import http

ERROR = "<?xml version='1.0' encoding='UTF-8'?><Error><Code>{}</Code><Message>{}</Message></Error>"
REFUSALS = {
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "expired": (400, "ExpiredToken", "The provided token has expired."),
}


class Faults:
    """Follows the rules, and prints what each did when mitmdump ends."""

    def __init__(self) -> None:
        config = json.loads(os.environ["LABELMILL_FAULTS"])
        self.chance = random.Random(config["seed"])
        self.rules = config["rules"]
        self.seen = 0
        self.followed: Counter[tuple[int, str]] = Counter()

    def choose(self, request: http.Request) -> dict[str, Any]:
        for number, rule in enumerate(self.rules):
            fits = re.fullmatch(rule.get("method", ".*"), request.method)
            fits = fits and re.search(rule.get("url", ""), request.path)
            if not fits or self.seen <= rule.get("after", 0):
                continue
            place = (number, request.path.partition("?")[0])
            if self.followed[place] >= rule.get("times", 1 << 30):
                continue
            if self.chance.random() < rule.get("rate", 1):
                self.followed[place] += 1
                return dict(rule)
        return {}

    async def request(self, flow: http.HTTPFlow) -> None:
        self.seen += 1
        rule = self.choose(flow.request)
        fault = flow.metadata["fault"] = rule.get("fault")
        if fault in REFUSALS:
            status, code, message = REFUSALS[fault]
            body = ERROR.format(code, message)
            flow.response = http.Response.make(status, body, {"Content-Type": "application/xml"})
        elif fault == "reset":
            flow.kill()
        elif fault == "slow":
            await asyncio.sleep(rule.get("seconds", 2))

    def response(self, flow: http.HTTPFlow) -> None:
        fault, body = flow.metadata["fault"], flow.response.raw_content
        if fault == "lost":
            flow.kill()
        elif fault == "truncated":
            flow.response.raw_content = body[: len(body) // 2]  # and the header stays
            flow.response.headers["Connection"] = "close"
        elif fault == "short":
            flow.response.content = body[: len(body) // 2]
        elif fault == "flipped":
            places = {self.chance.randrange(len(body)) for _ in range(8)} if body else ()
            flow.response.raw_content = bytes(
                byte ^ 0xFF if place in places else byte for place, byte in enumerate(body)
            )

    def done(self) -> None:
        """Say at the end how often each rule was followed."""
        for number, rule in enumerate(self.rules):
            followed = sum(n for (which, _), n in self.followed.items() if which == number)
            print(f"{rule['fault']}: {followed} of {self.seen} requests", flush=True)


addons = [Faults()]
