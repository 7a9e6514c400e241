//! A viewer's permissions: its token, what the token allows, and when it expires.
//!
//! The relay sends nothing to a viewer without permissions. A viewer can replace its token on the same connection. When
//! the policy changes, the token is checked again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use joey_shared::close;
use joey_shared::wire::ClientMessage;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Ended, Transport};
use crate::auth::claims::Claims;
use crate::auth::{Auth, AuthPolicy};
use crate::metrics::CloseReason;
use crate::runtime::clock::wall_ns;

/// How long a viewer may take to send its token.
const TOKEN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a viewer may stay after its token has expired, in ns. A new token may be on its way.
const EXPIRY_GRACE_NS: u64 = 25_000_000_000;

/// Permissions of one viewer.
pub(super) struct Permissions {
    auth: Arc<Auth>,
    policy: watch::Receiver<Arc<AuthPolicy>>,
    /// Empty if the policy requires no token.
    token: String,
    /// What the token allows.
    pub(super) claims: Claims,
    /// When to send the expiry time once more.
    notice_due: Option<Instant>,
    disconnect_due: Option<Instant>,
}

/// An event in the life of a token.
pub(super) enum ExpiryEvent {
    /// A third of its lifetime is left.
    ExpiresSoon,
    /// It has expired, and the grace period is over.
    Expired,
}

impl Permissions {
    /// Admits a viewer with the token of its HTTP request, or with the token in its first message.
    pub(super) async fn admit(
        transport: &mut Transport,
        auth: &Arc<Auth>,
        request_token: Option<String>,
    ) -> Result<Self, Ended> {
        let mut policy = auth.watch();
        let current = policy.borrow_and_update().clone();
        let token = match request_token {
            _ if !current.requires_token() => String::new(),
            Some(token) => token,
            None => timeout(TOKEN_TIMEOUT, first_token(transport))
                .await
                .unwrap_or(Err(Ended::Close(close::NO_TOKEN, CloseReason::NoToken)))?,
        };
        auth.fetch_key_of(&token).await;
        policy.mark_unchanged();
        let mut permissions = Self {
            auth: auth.clone(),
            policy,
            token: String::new(),
            claims: Claims::unrestricted(),
            notice_due: None,
            disconnect_due: None,
        };
        permissions.renew(token)?;
        tracing::debug!(subject = permissions.claims.subject(), "viewer admitted");
        Ok(permissions)
    }

    /// If a new token has been received that may be signed with a key unknown so far, waits for the keys to be fetched.
    pub(super) async fn fetch_key(&self, received: &Result<Option<Bytes>, Ended>) {
        let Ok(Some(bytes)) = received else { return };
        if let Ok(ClientMessage::Token { token }) = ClientMessage::decode(bytes)
            && self.policy.borrow().lacks_key_of(&token)
        {
            // It is rare, and would take memory in every viewer's task.
            Box::pin(self.auth.fetch_key_of(&token)).await;
        }
    }

    /// Replaces the token.
    pub(super) fn renew(&mut self, token: String) -> Result<(), Ended> {
        let policy = self.policy.borrow().clone();
        let claims =
            policy.verify(&token).map_err(|_| Ended::Close(close::INVALID_TOKEN, CloseReason::InvalidToken))?;
        let (now, now_ns) = (Instant::now(), wall_ns());
        // A token is valid for a moment after its expiry time.
        let left = |until_ns: u64| Duration::from_nanos(until_ns.saturating_sub(now_ns));
        let end_ns = claims.expires_ns();
        self.notice_due = end_ns.and_then(|end_ns| now.checked_add(left(end_ns) / 3 * 2));
        self.disconnect_due = end_ns.and_then(|end_ns| now.checked_add(left(end_ns.saturating_add(EXPIRY_GRACE_NS))));
        // Without a requirement for tokens, the token need not be stored.
        self.token = if policy.requires_token() { token } else { String::new() };
        self.claims = claims;
        Ok(())
    }

    /// Waits until the policy changes.
    pub(super) async fn policy_changed(&mut self) {
        if self.policy.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Checks the stored token against the current policy.
    pub(super) fn recheck(&mut self) -> Result<(), Ended> {
        let token = std::mem::take(&mut self.token);
        self.renew(token)
    }

    /// When the next event is due, if any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.notice_due.or(self.disconnect_due)
    }

    /// Returns the event that is due at `now`, if any.
    pub(super) fn take_event(&mut self, now: Instant) -> Option<ExpiryEvent> {
        if self.disconnect_due.is_some_and(|due| now >= due) {
            return Some(ExpiryEvent::Expired);
        }
        self.notice_due.take_if(|due| now >= *due).map(|_| ExpiryEvent::ExpiresSoon)
    }
}

/// Returns the token in the first message. Any other first message is an error.
async fn first_token(transport: &mut Transport) -> Result<String, Ended> {
    loop {
        let Some(bytes) = transport.recv().await? else {
            // Send the answer to a ping now, so that answers do not accumulate.
            transport.flush(TOKEN_TIMEOUT).await.map_err(|_| Ended::Gone)?;
            continue;
        };
        return match ClientMessage::decode(&bytes) {
            Ok(ClientMessage::Token { token }) => Ok(token),
            Ok(_) => Err(Ended::Close(close::INVALID_TOKEN, CloseReason::InvalidToken)),
            Err(_) => Err(Ended::Close(close::MALFORMED, CloseReason::Malformed)),
        };
    }
}
