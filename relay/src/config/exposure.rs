//! Checks that a relay that listens beyond loopback has access control.

use std::net::SocketAddr;

use super::Config;

/// Checks the listening addresses of `config`.
///
/// # Errors
/// Fails if an address is not loopback, its access control is incomplete, and `insecure_open` is not set.
pub fn check_exposure(config: &Config) -> anyhow::Result<()> {
    let is_open = |address: SocketAddr| !config.insecure_open && !address.ip().is_loopback();
    anyhow::ensure!(
        !is_open(config.http) || (!config.origins.is_empty() && config.requires_token()),
        "--http {} is not a loopback address, so any client that reaches it could watch: set both --origin and --token-key \
         or --jwks, or set --insecure-open",
        config.http
    );
    anyhow::ensure!(
        !is_open(config.ingest) || config.producers_allow.is_some(),
        "--ingest {} is not a loopback address, so any client that reaches it could send: set --producers-allow or \
         --insecure-open",
        config.ingest
    );
    if let Some(statsd) = config.statsd.udp {
        anyhow::ensure!(
            !is_open(statsd) || config.producers_allow.is_some(),
            "--statsd {statsd} is not a loopback address, so any client that reaches it could send: set --producers-allow or \
             --insecure-open"
        );
    }
    for (option, listen) in [("otlp-http", config.otlp_http), ("otlp-grpc", config.otlp_grpc)] {
        let Some(address) = listen.address() else { continue };
        anyhow::ensure!(
            !is_open(address) || config.producers_allow.is_some() || config.requires_token(),
            "--{option} {address} is not a loopback address, so any client that reaches it could send: set --producers-allow, \
             --token-key, --jwks or --insecure-open"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listen;

    #[test]
    fn listening_beyond_loopback_requires_access_control() {
        let open = |http: &str, ingest: &str, set: fn(&mut Config)| {
            let mut config =
                Config { http: http.parse().unwrap(), ingest: ingest.parse().unwrap(), ..Config::default() };
            set(&mut config);
            check_exposure(&config).map_err(|error| error.to_string())
        };
        let (here, all) = ("127.0.0.1:0", "0.0.0.0:0");
        let origins = |config: &mut Config| config.origins = vec!["https://ui.example".to_owned()];
        let keys = |config: &mut Config| config.token_keys = vec!["key".into()];
        assert_eq!(open(here, here, |_| {}), Ok(()));
        assert_eq!(open("[::1]:0", "[::1]:0", |_| {}), Ok(()));
        for set in [|_: &mut Config| {}, origins, keys] {
            assert!(open(all, here, set).unwrap_err().contains("--token-key"));
        }
        let both = |config: &mut Config| {
            config.origins = vec!["https://ui.example".to_owned()];
            config.token_keys = vec!["key".into()];
        };
        assert_eq!(open(all, here, both), Ok(()));
        assert!(open(here, "[::]:0", both).unwrap_err().contains("--producers-allow"));
        assert_eq!(open(here, all, |config| config.producers_allow = Some(vec!["10.0.0.0/8".to_owned()])), Ok(()));
        assert_eq!(open(all, all, |config| config.insecure_open = true), Ok(()));
        assert_eq!(open(here, here, |config| config.statsd.udp = "127.0.0.1:8125".parse().ok()), Ok(()));
        let statsd = |config: &mut Config| config.statsd.udp = "0.0.0.0:8125".parse().ok();
        assert!(open(here, here, statsd).unwrap_err().contains("--statsd 0.0.0.0:8125"));
    }

    #[test]
    fn otlp_beyond_loopback_requires_networks_or_tokens() {
        let open = |set: fn(&mut Config)| {
            let all = Listen::On("0.0.0.0:0".parse().unwrap());
            let mut http = Config { otlp_http: all, ..Config::default() };
            let mut grpc = Config { otlp_grpc: all, ..Config::default() };
            set(&mut http);
            set(&mut grpc);
            [http, grpc].map(|config| check_exposure(&config).map_err(|error| error.to_string()))
        };
        let [http, grpc] = open(|_| {}).map(Result::unwrap_err);
        assert!(http.contains("--otlp-http 0.0.0.0:0") && grpc.contains("--otlp-grpc 0.0.0.0:0"), "{http}, {grpc}");
        assert!(http.contains("--producers-allow") && http.contains("--token-key"), "{http}");
        let allowed: [fn(&mut Config); 3] = [
            |config| config.producers_allow = Some(vec!["10.0.0.0/8".to_owned()]),
            |config| config.token_keys = vec!["key".into()],
            |config| config.insecure_open = true,
        ];
        allowed.into_iter().for_each(|set| assert_eq!(open(set), [Ok(()), Ok(())]));
    }
}
