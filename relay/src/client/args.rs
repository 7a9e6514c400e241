//! The arguments of `joey tap` and `joey stats`.

use std::path::PathBuf;

use clap::Args;
use joey_shared::address;

/// Which relay a client talks to, and how it waits.
#[derive(Args)]
pub(crate) struct Target {
    /// The relay: host:port, a URL, or the directory under which a proxy shows it; repeatable, and the next one is taken when
    /// one is gone
    #[arg(
        long,
        env = "JOEY_RELAY",
        default_value = "ws://127.0.0.1:4000",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = parse_relay
    )]
    pub(crate) relay: Vec<String>,
    /// Fail at once when the relay is not there, instead of waiting for it
    #[arg(long)]
    pub(crate) once: bool,
    /// The token to show, read again when it changes [default: the environment's JOEY_TOKEN]
    #[arg(long, env = "JOEY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Believe relays that this authority vouches for too: a certificate in PEM
    #[arg(long, env = "JOEY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Tap {
    /// Only this application
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// First print what the relay still holds
    #[arg(long)]
    pub(crate) history: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// The application
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) target: Target,
    /// The span to look at, up to 1h: 10s, 5m, 300
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = parse_span)]
    pub(crate) window: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// The address of a relay's WebSocket.
fn parse_relay(text: &str) -> Result<String, String> {
    // A name that is not written in ASCII has another form for machines, which only browsers find by themselves.
    let address = address::websocket(text, false).filter(|address| address.is_ascii());
    address.ok_or_else(|| "the address of a relay is like relay.example:4000 or wss://relay.example/joey/".to_owned())
}

/// A span of time in seconds: `10s`, `5m`, `1h`, or plain seconds.
fn parse_span(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let with_unit = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let longest = joey_shared::window::SECONDS_MAX;
    match seconds {
        Some(seconds) if (1..=longest).contains(&seconds) => Ok(seconds),
        _ => Err(format!("a span is 1s to {}h, like 10s or 5m", longest / 3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans() {
        assert_eq!(["10s", "5m", "1h", "300", "1"].map(parse_span), [10, 300, 3_600, 300, 1].map(Ok));
        for wrong in ["", "0", "61m", "2h", "-5", "5 m", "m"] {
            assert!(parse_span(wrong).is_err(), "{wrong}");
        }
    }
}
