//! Messages to the service manager that started this process, in systemd's protocol (`sd_notify`): a datagram to the socket that
//! `NOTIFY_SOCKET` names. Without this variable nothing is sent.

use std::time::Duration;

use sd_notify::NotifyState;

/// States that the relay has started: its ports are open.
pub fn ready() {
    send(&[NotifyState::Ready]);
}

/// States that the relay is stopping, which may take some seconds.
pub fn stopping() {
    send(&[NotifyState::Stopping]);
}

/// States that the relay works. The service manager restarts it if this message is absent for the watchdog's time.
pub fn alive() {
    send(&[NotifyState::Watchdog]);
}

/// Interval between two calls of [`alive`]: half of the watchdog's time, as systemd recommends. `None` without a watchdog.
#[must_use]
pub fn alive_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|time| time / 2).filter(|interval| !interval.is_zero())
}

fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot notify the service manager");
    }
}
