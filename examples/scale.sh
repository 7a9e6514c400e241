#!/bin/sh
# Adds a worker when a pipeline is busy, and removes one when it is idle.
#
#     joey watch Orders --missed-for 30s --met-for 30s --exec 'examples/scale.sh' \
#         --slo 'start-to-end/Orders: throughput < 5000/s over 30s' \
#         --slo 'start-to-end/Orders: throughput > 500/s over 30s'
#
# The number of workers is in $WORKERS_FILE. Replace `apply` by what starts and stops workers where you run them, for example
# `kubectl scale deployment orders --replicas "$1"`.
set -eu

file=${WORKERS_FILE:-/tmp/workers}
least=${WORKERS_MIN:-1}
most=${WORKERS_MAX:-8}

apply() {
    echo "$1" > "$file"
    echo "$JOEY_APP: $1 workers ($JOEY_VIEW: $JOEY_VALUE)"
}

# Nothing is to be done when the throughput is between the two bounds again.
[ "$JOEY_STATE" = missed ] || exit 0

workers=$(cat "$file" 2>/dev/null || echo "$least")
case $JOEY_OBJECTIVE in
    *'throughput <'*) [ "$workers" -ge "$most" ] || apply $((workers + 1)) ;;
    *'throughput >'*) [ "$workers" -le "$least" ] || apply $((workers - 1)) ;;
esac
