//! Relays whose link to NATS the kernel takes down: nothing comes back, not even an error. The proxy in `failures` runs
//! everywhere; this runs only on machines that can create network namespaces.

use std::time::Duration;

use joey_tests::Nats;
use joey_tests::namespace::Namespace;

use super::failures::keep_sending;
use super::{check, checked_viewer, relay, start_producer, wait_for_connected};

#[test]
fn relays_whose_link_goes_down_catch_up_afterwards() {
    let Some(mut namespace) = Namespace::try_new() else { return };
    let links = [namespace.add_link(), namespace.add_link(), namespace.add_link()];
    let nats = Nats::start_in(&namespace.wrapper(), links[2].address);
    let over = |link: usize| format!("nats://{}:{}", links[link].address, nats.address.port());
    let (origin, cut_off, other) = (relay(&over(0)), relay(&over(1)), relay(&over(2)));
    let (mut producer, epoch) = start_producer(&origin);
    let mut local = checked_viewer(&origin, epoch);
    let mut watching = [checked_viewer(&cut_off, epoch), checked_viewer(&other, epoch)];
    watching.iter_mut().for_each(|checked| checked.read_to(1));

    links[1].take_down();
    let next = keep_sending(&mut producer, &mut local, 2, Duration::from_secs(8));
    wait_for_connected(&cut_off, false);
    watching[1].read_to(next - 1);
    links[1].bring_up();
    wait_for_connected(&cut_off, true);
    watching[0].read_to(next - 1);

    // Longer than other relays remember it.
    links[0].take_down();
    let next = keep_sending(&mut producer, &mut local, next, Duration::from_secs(14));
    wait_for_connected(&origin, false);
    assert_eq!(origin.get("/readyz").0, 200);
    other.wait_for_relays(2);
    assert_eq!(super::only_log(&other), epoch, "a retained log stays listed");
    links[0].bring_up();
    watching.iter_mut().chain([&mut local]).for_each(|checked| check(checked, next - 1));
    for relay in [&origin, &cut_off, &other] {
        relay.wait_for_relays(3);
        assert_eq!(relay.metric("joey_task_panics_total"), 0);
    }
}
