//! The panic guard: a panic in one connection's task is counted, ends that connection, and affects no other.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;

use prometheus_client::metrics::counter::Counter;

/// A name that makes the task of a producer or viewer panic in tests, the producer's while it holds a lock.
#[cfg(test)]
pub(crate) const PANIC_NAME: &str = "broken on purpose";

/// Runs `work`, and counts and logs a panic in it. State that `work` shares is behind locks that a panic does not poison.
///
/// Not an `async fn`, which would reserve memory for `work` twice in every task.
pub fn catch_panic(panics: Counter, task: &'static str, work: impl Future<Output = ()>) -> impl Future<Output = ()> {
    AssertUnwindSafe(work).catch_unwind().map(move |outcome| {
        if outcome.is_err() {
            panics.inc();
            tracing::error!(task, "a task panicked; its connection is closed");
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_and_counted() {
        let panics = Counter::default();
        catch_panic(panics.clone(), "test", async { panic!("on purpose") }).await;
        catch_panic(panics.clone(), "test", async {}).await;
        assert_eq!(panics.get(), 1);
    }
}
