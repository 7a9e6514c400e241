//! The arguments of `joey tap` and `joey stats`.

use std::path::PathBuf;

use clap::Args;
use joey_shared::address;

/// The relay to connect to, and how.
#[derive(Args)]
pub(crate) struct Target {
    /// Connect to this relay: host:port, or a URL (with the path if a proxy serves it under one); repeatable for failover
    #[arg(
        long,
        env = "JOEY_RELAY",
        default_value = "ws://127.0.0.1:4000",
        value_name = "URL",
        value_delimiter = ',',
        value_parser = parse_relay
    )]
    pub(crate) relay: Vec<String>,
    /// Fail if the relay is not reachable, instead of waiting for it
    #[arg(long)]
    pub(crate) once: bool,
    /// Read the token from this file, again when it changes [default: the token in JOEY_TOKEN]
    #[arg(long, env = "JOEY_TOKEN_FILE", value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Also trust relays with certificates from this authority, in PEM
    #[arg(long, env = "JOEY_CA", value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Tap {
    /// Print only this application
    pub(crate) app: Option<String>,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
    /// Print the retained history first
    #[arg(long)]
    pub(crate) history: bool,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// Print the statistics of this application
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) target: Target,
    /// Evaluate a window of this length, up to 1h: 10s, 5m, 300
    #[arg(long, default_value = "5m", value_name = "SPAN", value_parser = parse_window)]
    pub(crate) window: u64,
    /// Print JSON instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

/// Parses the address of a relay's WebSocket.
fn parse_relay(text: &str) -> Result<String, String> {
    // Only browsers convert an internationalized domain name to its ASCII form.
    let address = address::websocket(text, false).filter(|address| address.is_ascii());
    address.ok_or_else(|| "the address must be like relay.example:4000 or wss://relay.example/joey/".to_owned())
}

/// Parses a window length in seconds: `10s`, `5m`, `1h`, or plain seconds.
fn parse_window(text: &str) -> Result<u64, String> {
    let units = [('s', 1), ('m', 60), ('h', 3_600)];
    let with_unit = units.into_iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, seconds)));
    let (number, unit) = with_unit.unwrap_or((text, 1));
    let seconds = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let seconds_max = joey_shared::window::SECONDS_MAX;
    match seconds {
        Some(seconds) if (1..=seconds_max).contains(&seconds) => Ok(seconds),
        _ => Err(format!("the window must be 1s to {}h, such as 10s or 5m", seconds_max / 3_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn window_lengths_are_parsed() {
        assert_eq!(["10s", "5m", "1h", "300", "1"].map(parse_window), [10, 300, 3_600, 300, 1].map(Ok));
        for invalid in ["", "0", "61m", "2h", "-5", "5 m", "m"] {
            assert!(parse_window(invalid).is_err(), "{invalid}");
        }
    }
}
