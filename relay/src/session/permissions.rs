//! A viewer's pass: the token that let it in, what that allows, and when it ends.
//!
//! Before there is a pass the relay says nothing. A newer token takes the place of the old one on the same connection; rules
//! that change while the relay runs are held against the token again.

use std::sync::Arc;
use std::time::Duration;

use joey_shared::close;
use joey_shared::wire::ClientMessage;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::{Ended, Transport};
use crate::auth::claims::Claims;
use crate::auth::{Auth, AuthPolicy};
use crate::metrics::CloseReason;
use crate::runtime::clock::wall_ns;

/// How long a viewer may take to show its token.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a viewer may stay once its token has ended, in ns: a newer one may be on its way.
const GRACE_NS: u64 = 25_000_000_000;

/// What one viewer may see.
pub(super) struct Pass {
    rules: watch::Receiver<Arc<AuthPolicy>>,
    /// Empty where none is asked for.
    token: String,
    /// What it allows.
    pub(super) claims: Claims,
    /// When the viewer is told, once more, that it ends.
    notice_due: Option<Instant>,
    end_due: Option<Instant>,
}

/// What has become of a pass.
pub(super) enum Turn {
    /// A third of its life is left.
    Notice,
    /// It is over.
    Over,
}

impl Pass {
    /// Lets a viewer in by the token that its request brought, or by the one in its first message.
    pub(super) async fn admit(transport: &mut Transport, auth: &Auth, shown: Option<String>) -> Result<Self, Ended> {
        let mut rules = auth.watch();
        let now = rules.borrow_and_update().clone();
        let token = match shown {
            _ if !now.requires_token() => String::new(),
            Some(token) => token,
            None => timeout(DEADLINE, first_token(transport))
                .await
                .unwrap_or(Err(Ended::Close(close::NO_TOKEN, CloseReason::NoToken)))?,
        };
        let mut pass =
            Self { rules, token: String::new(), claims: Claims::unrestricted(), notice_due: None, end_due: None };
        pass.renew(token)?;
        tracing::debug!(subject = pass.claims.subject(), "viewer admitted");
        Ok(pass)
    }

    /// Puts a newer token in the place of the one before.
    pub(super) fn renew(&mut self, token: String) -> Result<(), Ended> {
        let rules = self.rules.borrow().clone();
        let claims = rules.verify(&token).map_err(|_| Ended::Close(close::TOKEN, CloseReason::InvalidToken))?;
        let (now, now_ns) = (Instant::now(), wall_ns());
        // A token may be good although its end is a moment ago.
        let left = |until_ns: u64| Duration::from_nanos(until_ns.saturating_sub(now_ns));
        let end_ns = claims.expires_ns();
        self.notice_due = end_ns.and_then(|end_ns| now.checked_add(left(end_ns) / 3 * 2));
        self.end_due = end_ns.and_then(|end_ns| now.checked_add(left(end_ns.saturating_add(GRACE_NS))));
        // Where none is asked for, none needs to be remembered.
        self.token = if rules.requires_token() { token } else { String::new() };
        self.claims = claims;
        Ok(())
    }

    /// Waits until there are other rules.
    pub(super) async fn rules_changed(&mut self) {
        if self.rules.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Holds the token against the rules of now.
    pub(super) fn review(&mut self) -> Result<(), Ended> {
        let token = std::mem::take(&mut self.token);
        self.renew(token)
    }

    /// When there is a turn to take, if any.
    pub(super) fn due(&self) -> Option<Instant> {
        self.notice_due.or(self.end_due)
    }

    /// Takes the turn that is due at `now`.
    pub(super) fn turn(&mut self, now: Instant) -> Option<Turn> {
        if self.end_due.is_some_and(|due| now >= due) {
            return Some(Turn::Over);
        }
        self.notice_due.take_if(|due| now >= *due).map(|_| Turn::Notice)
    }
}

/// The token in the first message. Any other message is too early.
async fn first_token(transport: &mut Transport) -> Result<String, Ended> {
    loop {
        let Some(bytes) = transport.recv().await? else {
            // The answer to a ping must not wait, or they would gather.
            transport.flush(DEADLINE).await.map_err(|_| Ended::Gone)?;
            continue;
        };
        return match ClientMessage::decode(&bytes) {
            Ok(ClientMessage::Token { token }) => Ok(token),
            Ok(_) => Err(Ended::Close(close::TOKEN, CloseReason::InvalidToken)),
            Err(_) => Err(Ended::Close(close::UNREADABLE, CloseReason::Malformed)),
        };
    }
}
