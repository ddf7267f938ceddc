#!/usr/bin/env python3
"""Payments: a service in another language behind the gateway. Standard library only.

    payments.py PORT [--gateway URL] [--token TOKEN] [--secret-file FILE] [--delay SECONDS] [--fail]

Receives the signed webhook `order.placed`, decides (the card `tok_declined` is declined), and reports back through the
gateway with its own token, whose role may call `settle_payment` and nothing else. Webhooks come at least once: the report
carries the event's id as its Idempotency-Key, so a repeated one changes nothing.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import subprocess
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOLERANCE_S = 300  # Standard Webhooks: older or newer messages are refused


def signature_holds(secret: str, headers, body: bytes) -> bool:
    """Standard Webhooks: v1 is HMAC-SHA256 over `id.timestamp.body` with the decoded secret."""
    message_id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    if not stamp.isdigit() or abs(time.time() - int(stamp)) > TOLERANCE_S:
        return False
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = hmac.new(key, f"{message_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    given = (part.partition(",") for part in headers.get("webhook-signature", "").split())
    return any(v == "v1" and hmac.compare_digest(base64.b64encode(expected).decode(), s) for v, _, s in given)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # head and body are two writes: without it the second waits 40 ms on a kept connection
    settings: argparse.Namespace

    def do_GET(self):
        self.reply(200, {"service": "payments", "pid": os.getpid()})

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.settings.fail:
            return self.reply(500, {"error": "told to fail"})
        time.sleep(self.settings.delay)
        if self.path != "/hooks":
            return self.reply(404, {"error": f"nothing at {self.path}"})
        if not signature_holds(self.settings.secret, self.headers, body):
            return self.reply(401, {"error": "the signature does not hold"})
        event = json.loads(body)
        order = event["data"]
        paid = order["card"] != "tok_declined"
        try:
            self.report(event["id"], order["id"], paid)
        except (urllib.error.URLError, OSError) as error:
            return self.reply(502, {"error": f"could not report back: {error}"})
        self.reply(200, {"order": order["id"], "paid": paid})

    def report(self, event_id: str, order_id: str, paid: bool):
        request = urllib.request.Request(
            f"{self.settings.gateway}/rest/v1/rpc/settle_payment",
            data=json.dumps({"order_id": order_id, "paid": paid}).encode(),
            headers={
                "authorization": f"Bearer {self.settings.token}",
                "content-type": "application/json",
                "idempotency-key": event_id,
            },
        )
        urllib.request.urlopen(request, timeout=10).read()

    def reply(self, status: int, document: dict):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def main():
    shop = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int)
    parser.add_argument("--gateway", default="http://127.0.0.1:8080")
    parser.add_argument("--token", default=os.environ.get("PAYMENTS_TOKEN"), help="default: $PAYMENTS_TOKEN, else `mainstay token`")
    parser.add_argument("--secret-file", default=os.path.join(shop, ".mainstay", "webhook-payment.secret"))
    parser.add_argument("--delay", type=float, default=0.0, help="seconds to wait before deciding")
    parser.add_argument("--fail", action="store_true", help="answer every webhook with 500")
    settings = parser.parse_args()
    if not settings.token:
        command = [os.environ.get("MAINSTAY", "mainstay"), "token", shop, "--role", "payments", "--ttl", "30d"]
        try:
            settings.token = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
        except FileNotFoundError:
            raise SystemExit(f"{command[0]}: not found; put it on PATH, name it in $MAINSTAY, or give --token")
        except subprocess.CalledProcessError as error:
            raise SystemExit(error.returncode)
    try:
        with open(settings.secret_file, encoding="ascii") as file:
            settings.secret = file.read().strip()
    except FileNotFoundError:
        raise SystemExit(f"{settings.secret_file} is not there: start the shop first, which makes it (mainstay serve {shop})")
    Handler.settings = settings
    server = ThreadingHTTPServer(("127.0.0.1", settings.port), Handler)
    print(f"payments on http://127.0.0.1:{settings.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
