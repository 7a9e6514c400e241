//! A panic in one connection's task ends that connection, is counted, and nobody else notices.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use prometheus_client::metrics::counter::Counter;

/// A name at which tests make a producer's task panic under a lock, and a viewer's task.
#[cfg(test)]
pub(crate) const BROKEN: &str = "broken on purpose";

/// Runs `work`; a panic in it goes no further than here. What it shared is behind locks that a panic does not poison.
///
/// Put together without `async`, which would take room for `work` twice in every task.
pub fn contained(panics: Counter, what: &'static str, work: impl Future<Output = ()>) -> impl Future<Output = ()> {
    AssertUnwindSafe(work).catch_unwind().map(move |outcome| {
        if outcome.is_err() {
            panics.inc();
            tracing::error!(what, "a task panicked; its connection ends here");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_goes_no_further() {
        let panics = Counter::default();
        contained(panics.clone(), "test", async { panic!("on purpose") }).await;
        contained(panics.clone(), "test", async {}).await;
        assert_eq!(panics.get(), 1);
    }
}
