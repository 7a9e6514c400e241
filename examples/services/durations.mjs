// Records 2,000 known durations with the OpenTelemetry SDK for Node and prints them, in ns, one per line.
//
//     npm install @opentelemetry/api @opentelemetry/sdk-node
//     OTEL_SERVICE_NAME=shop OTEL_METRICS_EXPORTER=otlp node durations.mjs
//
// with the variables of `fastapi_app.py`.

import { metrics } from "@opentelemetry/api";
import { NodeSDK } from "@opentelemetry/sdk-node";

const sdk = new NodeSDK();
sdk.start();
const histogram = metrics.getMeter("durations").createHistogram("checkout.duration", { unit: "s" });
for (let at = 0; at < 2_000; at += 1) {
  // Three powers of ten, most of them short.
  const seconds = 0.001 * 10 ** (3 * (((at * 7_919) % 2_000) / 2_000) ** 3);
  histogram.record(seconds);
  console.log(Math.round(seconds * 1e9));
  if (at % 500 === 499) {
    await new Promise((resolve) => setTimeout(resolve, 1_000));
  }
}
await sdk.shutdown();
