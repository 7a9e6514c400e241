"""A FastAPI service that knows nothing of Joey. Run it with OpenTelemetry's own instrumentation:

    pip install fastapi uvicorn opentelemetry-distro opentelemetry-exporter-otlp opentelemetry-instrumentation-fastapi
    export OTEL_SERVICE_NAME=shop
    export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
    export OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=base2_exponential_bucket_histogram
    export OTEL_METRIC_EXPORT_INTERVAL=1000
    opentelemetry-instrument uvicorn fastapi_app:app

Then open http://127.0.0.1:8000/users/7 a few times, and the application "shop" in Joey.
"""

import asyncio
import random

from fastapi import FastAPI

app = FastAPI()


@app.get("/users/{user}")
async def user(user: int):
    await asyncio.sleep(random.lognormvariate(-5, 0.5))
    return {"user": user}


@app.get("/search")
async def search():
    # One request in ten misses the cache.
    await asyncio.sleep(0.005 if random.random() < 0.9 else 0.05)
    return {"found": []}
