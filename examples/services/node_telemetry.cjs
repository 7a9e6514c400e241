// Starts OpenTelemetry in a Node service that is not changed for it:
//
//     npm install @opentelemetry/api @opentelemetry/sdk-node @opentelemetry/instrumentation-http
//     export OTEL_SERVICE_NAME=shop
//     export OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318
//     export OTEL_METRIC_EXPORT_INTERVAL=1000
//     export OTEL_SEMCONV_STABILITY_OPT_IN=http
//     node --require ./node_telemetry.cjs node_service.cjs
//
// The SDK for Node does not read OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION; the view below replaces it.

const { HttpInstrumentation } = require("@opentelemetry/instrumentation-http");
const { AggregationType, InstrumentType } = require("@opentelemetry/sdk-metrics");
const { NodeSDK } = require("@opentelemetry/sdk-node");

const sdk = new NodeSDK({
  instrumentations: [new HttpInstrumentation()],
  views: [
    {
      instrumentName: "*",
      instrumentType: InstrumentType.HISTOGRAM,
      aggregation: { type: AggregationType.EXPONENTIAL_HISTOGRAM },
    },
  ],
});
sdk.start();

// Send what is left when the service ends.
const stop = () => sdk.shutdown().finally(() => process.exit());
process.once("SIGTERM", stop);
process.once("SIGINT", stop);
process.once("beforeExit", stop);
