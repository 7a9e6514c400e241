//! WebSocket close codes, for relay and viewers. They tell a viewer whether it should reconnect.
//!
//! Codes up to 1015 are defined in RFC 6455, section 7.4. Codes from 4000 on are ours.

/// The relay stops or restarts (1012, "service restart"). Reconnect.
pub const RESTART: u16 = 1012;
/// A message was not binary (1003). The viewer has a bug, so it should not reconnect.
pub const NOT_BINARY: u16 = 1003;
/// A message was too long (1009). The viewer has a bug, so it should not reconnect.
pub const TOO_BIG: u16 = 1009;
/// A message was malformed (1008, "policy violation"). The viewer has a bug, so it should not reconnect.
pub const MALFORMED: u16 = 1008;
/// The viewer read nothing for 30 s while data was pending. Reconnect and resume.
pub const STALLED: u16 = 4008;
/// The relay has reached its limit of viewers. Reconnect later.
pub const VIEWER_LIMIT: u16 = 4013;
/// The token is invalid or has expired. Reconnect only with another token.
pub const INVALID_TOKEN: u16 = 4401;
/// No token arrived in time. Reconnect only with a token.
pub const NO_TOKEN: u16 = 4408;

/// Whether a viewer should reconnect after `code` without any change.
#[must_use]
pub const fn allows_reconnect(code: u16) -> bool {
    !matches!(code, NOT_BINARY | TOO_BIG | MALFORMED) && !requires_token(code)
}

/// Whether a viewer needs another token before it reconnects after `code`.
#[must_use]
pub const fn requires_token(code: u16) -> bool {
    matches!(code, INVALID_TOKEN | NO_TOKEN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_errors_of_the_viewer_prevent_a_reconnect() {
        assert!(
            [super::RESTART, super::STALLED, super::VIEWER_LIMIT, 1006, 1001].into_iter().all(super::allows_reconnect)
        );
        assert!(![super::NOT_BINARY, super::TOO_BIG, super::MALFORMED].into_iter().any(super::allows_reconnect));
    }

    #[test]
    fn a_rejected_token_requires_another_one() {
        let codes = [super::INVALID_TOKEN, super::NO_TOKEN];
        assert!(codes.into_iter().all(super::requires_token) && !codes.into_iter().any(super::allows_reconnect));
        assert!(!super::requires_token(super::MALFORMED));
    }
}
