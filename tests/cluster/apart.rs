//! Relays whose wire to NATS the kernel cuts: nothing comes back, not even an error. Beside the wire of `broken`, which runs
//! everywhere, this runs where network namespaces can be made.

use std::time::Duration;

use joey_tests::Nats;
use joey_tests::namespace::Namespace;

use super::broken::goes_on;
use super::{begun, check, is_connected, relay, witness};

#[test]
fn relays_whose_wire_is_pulled_out_are_whole_again_afterwards() {
    let Some(mut there) = Namespace::try_new() else { return };
    let wires = [there.wire(), there.wire(), there.wire()];
    let nats = Nats::start_in(&there.wrapper(), wires[2].there);
    let over = |wire: usize| format!("nats://{}:{}", wires[wire].there, nats.address.port());
    let (origin, cut_off, other) = (relay(&over(0)), relay(&over(1)), relay(&over(2)));
    let (mut producer, epoch) = begun(&origin);
    let mut local = witness(&origin, epoch);
    let mut watching = [witness(&cut_off, epoch), witness(&other, epoch)];
    watching.iter_mut().for_each(|witness| witness.reads_to(1));

    wires[1].pull();
    let next = goes_on(&mut producer, &mut local, 2, Duration::from_secs(8));
    is_connected(&cut_off, false);
    watching[1].reads_to(next - 1);
    wires[1].plug();
    is_connected(&cut_off, true);
    watching[0].reads_to(next - 1);

    // Longer than others remember it.
    wires[0].pull();
    let next = goes_on(&mut producer, &mut local, next, Duration::from_secs(14));
    is_connected(&origin, false);
    assert_eq!(origin.get("/readyz").0, 200);
    other.knows(2);
    assert_eq!(super::only_log(&other), epoch, "what is held stays known");
    wires[0].plug();
    watching.iter_mut().chain([&mut local]).for_each(|witness| check(witness, next - 1));
    for relay in [&origin, &cut_off, &other] {
        relay.knows(3);
        assert_eq!(relay.metric("joey_task_panics_total"), 0);
    }
}
