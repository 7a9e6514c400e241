"""Records 2,000 known durations with the OpenTelemetry SDK and prints them, in s, one per line.

It contains nothing of Joey: run it with `opentelemetry-instrument python3 durations.py` and the variables of
`fastapi_app.py`.
"""

import random
import time

from opentelemetry import metrics

histogram = metrics.get_meter("durations").create_histogram("checkout.duration", unit="s")
# The SDK draws its ids from the global generator, so this one is separate.
generator = random.Random(1)
for at in range(2_000):
    seconds = generator.lognormvariate(-6, 0.8)
    histogram.record(seconds)
    print(seconds)
    if at % 500 == 499:
        # Let several export intervals pass.
        time.sleep(1)
