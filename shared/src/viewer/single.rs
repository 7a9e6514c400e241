//! One relay and the stores that it fills.

use core::ops::{Deref, DerefMut};
use core::slice;

use super::several::{advance, forget, receive};
use super::{Incoming, Subscriber};
use crate::store::{AppStore, AppStores, WINDOW_SECONDS};
use crate::wire::WireError;

/// The state of one viewer.
///
/// ```
/// use joey_shared::series::{Filter, Topic};
/// use joey_shared::viewer::Viewer;
/// use joey_shared::wire::{ClientMessage, ServerMessage, Start, Subscribed};
///
/// let mut viewer = Viewer::default();
/// let topic = Topic { app: "Alerts".to_owned(), filter: Filter::All };
/// viewer.subscribe(topic.clone(), Start::History);
///
/// // After the connection opens, send the outgoing messages.
/// viewer.connected();
/// let subscribe = ClientMessage::Subscribe { sub: 1, topic: topic.clone(), start: Start::History };
/// assert_eq!(viewer.outgoing(), [subscribe.encode()]);
///
/// // Pass each message of the relay to `receive`. This one is the answer to the subscription.
/// let answer = Subscribed { sub: 1, feed: 1, epoch: 77, next: 301, head: 300, missing: 0 };
/// let now_ns = 0;
/// viewer.receive(&ServerMessage::Subscribed(answer).encode(), now_ns, |incoming| {
///     println!("{} {:?}", incoming.app, incoming.update.histogram);
/// })?;
/// assert!(viewer.is_caught_up());
///
/// // After a reconnect, the viewer resumes from its position.
/// viewer.disconnected();
/// viewer.connected();
/// let resume = ClientMessage::Subscribe { sub: 1, topic, start: Start::After { epoch: 77, seq: 300 } };
/// assert_eq!(viewer.outgoing(), [resume.encode()]);
/// # Ok::<(), joey_shared::wire::WireError>(())
/// ```
///
/// What does not need the stores is a method of [`Subscriber`], to which it dereferences.
#[derive(Debug)]
pub struct Viewer {
    pub(super) stores: AppStores,
    pub(super) relay: Subscriber,
}

impl Default for Viewer {
    fn default() -> Self {
        Self::new(WINDOW_SECONDS)
    }
}

impl Deref for Viewer {
    type Target = Subscriber;

    fn deref(&self) -> &Subscriber {
        &self.relay
    }
}

impl DerefMut for Viewer {
    fn deref_mut(&mut self) -> &mut Subscriber {
        &mut self.relay
    }
}

impl Viewer {
    /// Creates a viewer without subscriptions, with windows of `seconds`.
    #[must_use]
    pub const fn new(seconds: u64) -> Self {
        Self { stores: AppStores::new(seconds), relay: Subscriber::new(0) }
    }

    /// Processes one message that arrived at local time `now_ns` (any monotonic clock). Calls `incoming` for each update that was
    /// not received before.
    ///
    /// # Errors
    /// Fails if the message or a part of it is malformed. The error is counted in [`Subscriber::malformed`], and the
    /// viewer remains usable.
    pub fn receive(&mut self, bytes: &[u8], now_ns: u64, incoming: impl FnMut(&Incoming<'_>)) -> Result<(), WireError> {
        receive(&mut self.stores, slice::from_mut(&mut self.relay), 0, bytes, now_ns, incoming)
    }

    /// Removes the windows of an application and the positions of its topics, and subscribes again. Use it after an absence that
    /// is longer than the retained history. The time in between is then missing from the windows instead of counting as zero.
    pub fn forget(&mut self, app: &str) {
        forget(&mut self.stores, slice::from_mut(&mut self.relay), app);
    }

    /// Completes the newest periods that are due at local time `now_ns`, even without an update of a later one.
    pub fn advance(&mut self, now_ns: u64) {
        advance(&mut self.stores, slice::from_ref(&self.relay), now_ns);
    }

    /// The stores of all applications.
    #[must_use]
    pub const fn stores(&self) -> &AppStores {
        &self.stores
    }

    /// The same, for reading their windows.
    pub const fn stores_mut(&mut self) -> &mut AppStores {
        &mut self.stores
    }

    /// The store of one application.
    #[must_use]
    pub fn app(&self, app: &str) -> Option<&AppStore> {
        self.stores.get(app)
    }

    /// The store of one application, for reading its windows.
    pub fn app_mut(&mut self, app: &str) -> Option<&mut AppStore> {
        self.stores.get_mut(app)
    }

    /// Sets the length of every window, in seconds.
    pub fn set_seconds(&mut self, seconds: u64) {
        self.stores.set_seconds(seconds);
        self.relay.revision += 1;
    }

    /// Length of the windows in seconds.
    #[must_use]
    pub const fn seconds(&self) -> u64 {
        self.stores.seconds()
    }
}
