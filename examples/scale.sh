#!/bin/sh
# Adds a worker when a pipeline is busy, and removes one when it is idle.
#
#     joey watch Orders --missed-for 30s --met-for 30s --exec 'examples/scale.sh' \
#         --slo 'start-to-end/Orders: throughput < 5000/s over 30s' \
#         --slo 'start-to-end/Orders: throughput > 500/s over 30s'
#
# $WORKERS_COMMAND is called with the new number of workers, for example
# WORKERS_COMMAND='kubectl scale deployment orders --replicas'.
# If it fails, the number in $WORKERS_FILE stays. The number is from $WORKERS_MIN to $WORKERS_MAX.
set -eu

file=${WORKERS_FILE:-/tmp/workers}
least=${WORKERS_MIN:-1}
most=${WORKERS_MAX:-8}

apply() {
    ${WORKERS_COMMAND:-:} "$1"
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
