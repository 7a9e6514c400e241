//! Why a WebSocket ended, as a code that a viewer can act on: one table for both ends.
//!
//! Codes up to 1015 are those of RFC 6455 section 7.4; codes from 4000 are ours. What matters to a viewer is whether coming back can help.

/// The relay is stopping or restarting (RFC 6455: "service restart", 1012). Come back.
pub const RESTART: u16 = 1012;
/// A message was not binary (1003). Coming back with the same program cannot help.
pub const NOT_BINARY: u16 = 1003;
/// A message was longer than the relay takes (1009). Coming back with the same program cannot help.
pub const TOO_BIG: u16 = 1009;
/// A message could not be understood (1008, policy). Coming back with the same program cannot help.
pub const MALFORMED: u16 = 1008;
/// The viewer took nothing for 30 s although data was waiting. Come back and resume.
pub const STALLED: u16 = 4008;
/// The relay has as many viewers as it may. Come back later.
pub const VIEWER_LIMIT: u16 = 4013;
/// The token is not accepted, or no longer. Come back with another one only.
pub const INVALID_TOKEN: u16 = 4401;
/// No token came in time. Come back with one only.
pub const NO_TOKEN: u16 = 4408;

/// Whether a viewer that was closed with `code` should come back as it is.
#[must_use]
pub const fn allows_reconnect(code: u16) -> bool {
    !matches!(code, NOT_BINARY | TOO_BIG | MALFORMED) && !requires_token(code)
}

/// Whether a viewer that was closed with `code` may come back with another token.
#[must_use]
pub const fn requires_token(code: u16) -> bool {
    matches!(code, INVALID_TOKEN | NO_TOKEN)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_viewers_own_mistakes_are_final() {
        assert!(
            [super::RESTART, super::STALLED, super::VIEWER_LIMIT, 1006, 1001].into_iter().all(super::allows_reconnect)
        );
        assert!(![super::NOT_BINARY, super::TOO_BIG, super::MALFORMED].into_iter().any(super::allows_reconnect));
    }

    #[test]
    fn without_another_token_coming_back_cannot_help() {
        let codes = [super::INVALID_TOKEN, super::NO_TOKEN];
        assert!(codes.into_iter().all(super::requires_token) && !codes.into_iter().any(super::allows_reconnect));
        assert!(!super::requires_token(super::MALFORMED));
    }
}
