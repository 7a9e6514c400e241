//! Tells the service manager at regular intervals that the relay works, and only if it does.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::hub::Hub;

/// Calls `alive` once in each interval until `stop` is cancelled.
pub(super) async fn run(hub: Arc<Hub>, interval: Duration, alive: fn(), stop: CancellationToken) {
    while stop.run_until_cancelled(sleep(interval)).await.is_some() {
        let hub = hub.clone();
        // On a thread of its own, because a lock that is never released would block it for good. If the threads that
        // serve connections are all blocked, the timer above does not return either.
        if tokio::task::spawn_blocking(move || check(&hub, alive)).await.is_err() {
            tracing::error!("the check for the watchdog failed");
        }
    }
}

/// Calls `alive` after it has held each lock of the hub once.
fn check(hub: &Hub, alive: impl FnOnce()) {
    let _ = hub.gauges(0);
    alive();
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::atomic::Ordering::SeqCst;

    use super::*;
    use crate::config::Config;

    #[test]
    fn no_message_is_sent_while_a_lock_of_the_hub_is_held() {
        let hub = Hub::new(Config::default(), 1);
        let app = hub.app("App").unwrap();
        let is_released = AtomicBool::new(false);
        std::thread::scope(|scope| {
            // It holds the lock of the application's log until it is dropped.
            let held = hub.publisher(&app, 0);
            let checked = scope.spawn(|| {
                let mut was_released = false;
                check(&hub, || was_released = is_released.load(SeqCst));
                was_released
            });
            // Time in which a check that takes no lock would finish.
            std::thread::sleep(Duration::from_millis(100));
            is_released.store(true, SeqCst);
            drop(held);
            assert!(checked.join().unwrap(), "the message was sent while the lock was held");
        });
    }
}
