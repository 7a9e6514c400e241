//! The connections to all relays of the page, one for each.
//!
//! Each has its own state, token and counters. They share the model, where their data is merged. A relay that is added or
//! removed changes no other connection.

use leptos::prelude::{
    Get, GetUntracked, LocalStorage, Owner, Read, ReadUntracked, ReadValue, RwSignal, Set, StoredValue, UpdateValue,
    WriteValue, on_cleanup, set_interval_with_handle,
};

use crate::browser;
use crate::connection::{Connection, ConnectionState, SILENCE_CHECK_PERIOD};
use crate::frame_loop::{FrameLoop, ModelHandle};
use crate::local_storage;
use crate::settings::relay_list::key;

/// A relay of the page and the connection to it.
#[derive(Clone)]
#[allow(missing_debug_implementations, reason = "the frame loop holds closures")]
pub struct PageRelay {
    /// Its addresses in the settings or in the link.
    pub addresses: Vec<String>,
    /// The connection.
    pub connection: Connection,
}

/// The connections. Copies share the same connections.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "the frame loop holds closures")]
pub struct Connections {
    model: ModelHandle,
    frame_loop: FrameLoop,
    /// The relays, in the order of the settings.
    pub relays: RwSignal<Vec<PageRelay>>,
    /// The id of the newest relay. Ids are not used again.
    last_id: StoredValue<u32>,
    /// Connections live as long as the page, not as long as the component that adds them.
    owner: StoredValue<Owner, LocalStorage>,
}

impl Connections {
    /// No connections yet. All end when the current reactive owner is disposed.
    #[must_use]
    pub fn new(model: ModelHandle, frame_loop: FrameLoop) -> Self {
        let connections = Self {
            model,
            frame_loop,
            relays: RwSignal::new(Vec::new()),
            last_id: StoredValue::new(0),
            owner: StoredValue::new_local(Owner::current().unwrap_or_default()),
        };
        if let Ok(timer) = set_interval_with_handle(move || connections.send(), SILENCE_CHECK_PERIOD) {
            on_cleanup(move || timer.clear());
        }
        connections
    }

    /// Connects to the relays at `wanted`, one list of addresses for each relay, and to no others.
    pub fn set(self, wanted: &[Vec<String>]) {
        let now_ns = browser::now_ns();
        let mut before = self.relays.get_untracked();
        let mut relays = Vec::new();
        for addresses in wanted {
            let kept = before.iter().position(|relay| relay.addresses == *addresses);
            relays.push(kept.map_or_else(|| self.add(addresses, now_ns), |index| before.swap_remove(index)));
        }
        for PageRelay { connection, .. } in before {
            connection.stop();
            self.model.write_value().remove_relay(connection.relay, now_ns);
        }
        let ids: Vec<u32> = relays.iter().map(|relay| relay.connection.relay).collect();
        self.model.write_value().set_relay_order(&ids);
        self.relays.set(relays);
        self.send();
        self.frame_loop.tick_now();
    }

    fn add(self, addresses: &[String], now_ns: u64) -> PageRelay {
        let id = self.last_id.try_update_value(|id| {
            *id += 1;
            *id
        });
        let id = id.unwrap_or_default();
        self.model.write_value().add_relay(id, now_ns);
        let token = local_storage::token(&key(addresses));
        let start = || Connection::start(self.model, self.frame_loop, id, addresses.to_vec(), token);
        let connection = self.owner.read_value().with(start);
        PageRelay { addresses: addresses.to_vec(), connection }
    }

    /// Stores and sends the token of the relay at `addresses`.
    pub fn set_token(self, addresses: &[String], token: &str) {
        local_storage::store_token(&key(addresses), token);
        let relays = self.relays.read_untracked();
        if let Some(relay) = relays.iter().find(|relay| relay.addresses == addresses) {
            relay.connection.set_token(token);
        }
    }

    /// The addresses of the relay that a token without a name is for: the first that asks for one, or the first of all.
    #[must_use]
    pub fn token_relay(self) -> Option<Vec<String>> {
        let relays = self.relays.read_untracked();
        let asks = |relay: &&PageRelay| match &*relay.connection.state.read_untracked() {
            ConnectionState::Rejected(code, _) => joey_shared::close::requires_token(*code),
            _ => false,
        };
        relays.iter().find(asks).or_else(|| relays.first()).map(|relay| relay.addresses.clone())
    }

    /// Sends the pending commands of all relays.
    pub fn send(self) {
        self.each(Connection::send);
    }

    /// Whether a relay is connected.
    #[must_use]
    pub fn is_any_connected(self) -> bool {
        self.relays.read().iter().any(|relay| relay.connection.state.get() == ConnectionState::Connected)
    }

    /// Whether a relay is not connected, without subscribing to it.
    #[must_use]
    pub fn is_any_disconnected(self) -> bool {
        let relays = self.relays.read_untracked();
        relays.iter().any(|relay| relay.connection.state.get_untracked() != ConnectionState::Connected)
    }

    /// Tries again now where a connection is lost.
    pub fn retry(self) {
        self.each(Connection::retry);
    }

    fn each(self, act: fn(Connection)) {
        let Some(relays) = leptos::prelude::GetUntracked::try_get_untracked(&self.relays) else { return };
        relays.into_iter().for_each(|relay| act(relay.connection));
    }
}
