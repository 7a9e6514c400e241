// Records 2,000 known durations with the OpenTelemetry API and prints them, in s, one per line.
//
// It contains nothing of Joey: run it with `node --require ./node_telemetry.cjs durations.cjs` and the variables of
// `node_telemetry.cjs`.

const { metrics } = require("@opentelemetry/api");

const histogram = metrics.getMeter("durations").createHistogram("checkout.duration", { unit: "s" });

async function main() {
  for (let at = 0; at < 2_000; at += 1) {
    // Three powers of ten, most of them short.
    const seconds = 0.001 * 10 ** (3 * (((at * 7_919) % 2_000) / 2_000) ** 3);
    histogram.record(seconds);
    console.log(seconds);
    if (at % 500 === 499) {
      // Let several export intervals pass.
      await new Promise((resolve) => setTimeout(resolve, 1_000));
    }
  }
  // Nothing else keeps Node running. `node_telemetry.cjs` sends the rest.
}

main();
